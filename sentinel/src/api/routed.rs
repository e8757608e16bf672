//! What answers at a path, method by method, each with what the document says of it: nothing is routed untold.

use super::Shared;
use super::openapi::Op;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use utoipa::openapi::HttpMethod;

/// The methods of a path.
pub(super) struct Methods {
    pub(super) router: MethodRouter<Shared>,
    pub(super) told: Vec<(HttpMethod, fn() -> Op)>,
}

/// A path that can be read.
pub(super) fn get<H: Handler<T, Shared>, T: 'static>(handler: H, told: fn() -> Op) -> Methods {
    Methods {
        router: routing::get(handler),
        told: vec![(HttpMethod::Get, told)],
    }
}

/// A path that only takes orders.
pub(super) fn post<H: Handler<T, Shared>, T: 'static>(handler: H, told: fn() -> Op) -> Methods {
    Methods {
        router: routing::post(handler),
        told: vec![(HttpMethod::Post, told)],
    }
}

/// A path at which something is only taken away.
pub(super) fn delete<H: Handler<T, Shared>, T: 'static>(handler: H, told: fn() -> Op) -> Methods {
    Methods {
        router: routing::delete(handler),
        told: vec![(HttpMethod::Delete, told)],
    }
}

impl Methods {
    pub(super) fn post<H: Handler<T, Shared>, T: 'static>(mut self, handler: H, told: fn() -> Op) -> Self {
        self.told.push((HttpMethod::Post, told));
        Self {
            router: self.router.post(handler),
            ..self
        }
    }

    pub(super) fn delete<H: Handler<T, Shared>, T: 'static>(mut self, handler: H, told: fn() -> Op) -> Self {
        self.told.push((HttpMethod::Delete, told));
        Self {
            router: self.router.delete(handler),
            ..self
        }
    }
}
