//! The world outside: how its sources stand, and what they know of an address.

use super::Shared;
use super::access::Actor;
use super::commands::{Body, audit};
use super::error::Problem;
use super::query::short;
use crate::types::{Address, Checked, Enquiry, IntelReport};
use axum::Json;
use axum::extract::{Extension, State};
use serde::Deserialize;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// How long an answer is awaited: longer than the slowest source may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// `POST /intel/check`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IntelQuestion)]
pub(super) struct CheckDto {
    /// An address.
    #[schema(value_type = Address)]
    ip: String,
}

pub(super) async fn status(State(api): State<Shared>) -> Result<Json<IntelReport>, Problem> {
    let mut report = ask(&api, Enquiry::Status).await?;
    // A stop holds lists back as it does entries, whatever they were loaded as.
    if api.acting.borrow().stopped.is_some() {
        for feed in &mut report.feeds {
            if let Some(kernel) = &mut feed.kernel {
                kernel.simulated = true;
            }
        }
    }
    Ok(Json(report))
}

/// Asks the sources about an address; it may spend their quota, which is why it is no `GET`.
pub(super) async fn check(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Body(wish): Body<CheckDto>,
) -> Result<Json<Checked>, Problem> {
    let ip: IpAddr = wish
        .ip
        .parse()
        .map_err(|_| Problem::invalid(format!("`{}` is no address such as 203.0.113.7", short(&wish.ip))))?;
    let result = ask(&api, |reply| Enquiry::Check(ip, reply)).await;
    let told = |checked: &Checked| checked.risk.summary.clone();
    audit(&api, &actor, "api.intel.check", &ip.to_string(), &result, told).await;
    Ok(Json(result?))
}

async fn ask<T>(api: &Shared, question: impl FnOnce(oneshot::Sender<T>) -> Enquiry) -> Result<T, Problem> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        api.enquiries.send(question(reply)).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) if api.cancel.is_cancelled() => Err(Problem::unavailable("the agent is shutting down")),
        Ok(None) => Err(Problem::unavailable(
            "too many addresses are being asked about; try again",
        )),
        Err(_) => Err(Problem::unavailable("the sources take too long; try again".to_owned())),
    }
}
