//! For `fuzz`: requests of whoever is let in, through every layer, to a store of its own. The rooms that would answer
//! commands are gone, which is said (503).

use super::guard::Door;
use super::{Api, AppState, router};
use crate::auth::{Auth, Secrets};
use crate::bus::Bus;
use crate::config::{ApiConfig, Config, ReportsConfig, TrafficLogConfig};
use crate::store::{Store, Writer};
use crate::time;
use crate::types::Timestamp;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, Uri, header};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Longest answer that is read, bytes.
const ANSWER: usize = 64 << 20;

/// The API behind its unix socket, where everybody is an administrator.
pub struct Served {
    store: Store,
    router: Router,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").finish_non_exhaustive()
    }
}

impl Served {
    /// One whose files are in a folder. The writer has to be run by somebody.
    ///
    /// # Errors
    /// When there can be no store, or no chance.
    pub fn new(folder: &Path) -> anyhow::Result<(Self, Writer)> {
        let (store, writer) = Store::open(&folder.join("sentinel.db"))?;
        let hour = Duration::from_hours(1);
        let config = Config {
            api: ApiConfig {
                crowdsec: true,
                ..ApiConfig::default()
            },
            reports: ReportsConfig {
                directory: folder.join("reports"),
                ..ReportsConfig::default()
            },
            traffic_log: TrafficLogConfig {
                path: folder.join("traffic_log.csv"),
                ..TrafficLogConfig::default()
            },
            ..Config::default()
        };
        let state = AppState {
            auth: Arc::new(Auth::new(store.clone(), Secrets::new()?, hour, Vec::new(), Vec::new())),
            store: store.clone(),
            commands: mpsc::channel(1).0,
            learning: mpsc::channel(1).0,
            enquiries: mpsc::channel(1).0,
            busiest: mpsc::channel(1).0,
            bus: Bus::default(),
            stats: watch::channel(Arc::default()).1,
            health: watch::channel(Arc::default()).1,
            fleet: watch::channel(Arc::default()).1,
            hits: watch::channel(Arc::default()).1,
            tests: mpsc::channel(1).0,
            channels: watch::channel(Arc::default()).1,
            protected: watch::channel(Arc::default()).1,
            acting: watch::channel(Arc::default()).1,
            model: watch::channel(None).1,
            config: Arc::new(config),
            origins: Arc::default(),
            settings: watch::channel(None).1,
            reloads: mpsc::channel(1).0,
            metrics: Arc::default(),
            started: Timestamp(1_767_225_600_000_000_000),
            clock: time::clock(),
        };
        let router = router::router(Api::new(state, CancellationToken::new()), Door::Unix);
        Ok((Self { store, router }, writer))
    }

    /// Asks what a text says: method and target in its first line, the kind of its content in the second, then the body.
    pub async fn ask(&self, text: &[u8]) {
        let mut lines = text.splitn(3, |byte| *byte == b'\n');
        let mut line = || lines.next().unwrap_or_default();
        let (first, kind, body) = (line(), line(), line());
        let mut words = first.splitn(2, |byte| *byte == b' ');
        let method = Method::from_bytes(words.next().unwrap_or_default());
        let target = words.next().and_then(|target| Uri::try_from(target).ok());
        let (Ok(method), Some(target)) = (method, target) else {
            return;
        };
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body.to_vec()));
        let Ok(request) = request else { return };
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status();
        let text = to_bytes(response.into_body(), ANSWER).await;
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{text:?}");
        assert!(text.is_ok(), "{status}: {text:?}");
    }

    /// Nothing is asked any more; the writer ends.
    pub fn close(&self) {
        self.store.close();
    }
}
