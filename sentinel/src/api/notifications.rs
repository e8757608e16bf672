//! What is told to people: how it stands, and whether it comes through.

use super::Shared;
use super::access::Actor;
use super::commands::{Body, audit};
use super::error::Problem;
use super::query::short;
use crate::types::{ChannelKind, ChannelStatus, MessageRow, TestOutcome, TestWish};
use axum::Json;
use axum::extract::{Extension, State};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// Messages that are shown.
const RECENT: usize = 50;
/// How long a test is awaited: a channel's own timeouts may be longer.
const PATIENCE: Duration = Duration::from_secs(28);

/// One channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelStatus)]
pub(super) struct ChannelDto {
    /// Which.
    channel: ChannelKind,
    #[serde(flatten)]
    status: ChannelStatus,
}

/// `GET /notifications`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notifications)]
pub(super) struct NotificationsDto {
    /// Every channel there is.
    channels: Vec<ChannelDto>,
    /// The latest messages, newest first.
    recent: Vec<MessageRow>,
}

/// `POST /notifications/test`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NotificationTest)]
pub(super) struct TestDto {
    /// `email`, `slack`, `webhook`, `file` or `syslog`; all that are configured where it is missing.
    #[serde(default)]
    #[schema(examples("email"))]
    channel: Option<String>,
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotificationTested)]
pub(super) struct TestedDto {
    /// By channel.
    items: Vec<TestOutcome>,
}

pub(super) async fn status(State(api): State<Shared>) -> Result<Json<NotificationsDto>, Problem> {
    let recent = api.store.latest_messages(None, RECENT).await?;
    let channels = api.channels.borrow().clone();
    let channels = channels.iter().map(|(channel, status)| ChannelDto {
        channel: *channel,
        status: status.clone(),
    });
    Ok(Json(NotificationsDto {
        channels: channels.collect(),
        recent,
    }))
}

pub(super) async fn test(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Body(body): Body<TestDto>,
) -> Result<Json<TestedDto>, Problem> {
    let channel = body.channel.as_deref().map(|name| {
        ChannelKind::named(name).ok_or_else(|| {
            let known = ChannelKind::ALL.map(ChannelKind::as_str).join("`, `");
            Problem::invalid(format!("`channel` must be one of `{known}`, not `{}`", short(name)))
        })
    });
    let channel = channel.transpose()?;
    let result = ask(&api, channel, &actor).await;
    let subject = channel.map_or("all channels", ChannelKind::as_str);
    let told = |items: &Vec<TestOutcome>| {
        let each = items.iter().map(|item| {
            let word = if item.taken { "taken" } else { "not taken" };
            format!("{} {word}", item.channel.as_str())
        });
        each.collect::<Vec<_>>().join(", ")
    };
    audit(&api, &actor, "api.notifications.test", subject, &result, told).await;
    Ok(Json(TestedDto { items: result? }))
}

async fn ask(api: &Shared, channel: Option<ChannelKind>, actor: &str) -> Result<Vec<TestOutcome>, Problem> {
    let (reply, answer) = oneshot::channel();
    let wish = TestWish {
        channel,
        actor: actor.to_owned(),
        reply,
    };
    let asked = async {
        api.tests.send(wish).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Some(outcomes)) => Ok(outcomes),
        Ok(None) => Err(Problem::unavailable("the agent is shutting down")),
        Err(_) => Err(Problem::unavailable(
            "no channel answered within 28 s; try one at a time, or lower its `timeout`",
        )),
    }
}
