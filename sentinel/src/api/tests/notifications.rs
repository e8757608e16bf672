//! Who is told, over HTTP.

use super::*;
use crate::types::{ChannelStatus, ChannelTrouble, Content, Message, MessageState};

/// File works, Slack does not, mail waits; one message of each kind of end.
pub(super) async fn some(house: &House) {
    let at = now();
    let mut channels = Channels::new();
    for kind in ChannelKind::ALL {
        let configured = matches!(kind, ChannelKind::File | ChannelKind::Slack | ChannelKind::Email);
        channels.insert(
            kind,
            ChannelStatus {
                configured,
                folds: kind != ChannelKind::File,
                sent_at: (kind == ChannelKind::File).then_some(at),
                waiting: u64::from(kind == ChannelKind::Slack) * 3,
                trouble: (kind == ChannelKind::Slack).then(|| ChannelTrouble {
                    since: at,
                    tries: 4,
                    cause: "answered 404 (no_service)".to_owned(),
                    mend: "make a new incoming webhook".to_owned(),
                    next: at.after(Duration::from_mins(1)),
                }),
                ..ChannelStatus::default()
            },
        );
    }
    house.channels.send_replace(Arc::new(channels));
    let mut mint = Mint::Random;
    let message = |channel, content| Message {
        id: Mint::Random.message(at),
        channel,
        at,
        due: at,
        content,
    };
    let alert = mint.alert(at);
    let one = message(
        ChannelKind::File,
        Content::Alert {
            alert,
            severity: Severity::High,
        },
    );
    let two = message(
        ChannelKind::Email,
        Content::Test {
            by: "<script>".to_owned(),
        },
    );
    let over = Record::Settled {
        id: two.id,
        at,
        state: MessageState::Refused,
        cause: Some("answered 422".to_owned()),
    };
    house
        .keep(vec![
            Record::Message(Box::new(one)),
            Record::Message(Box::new(two)),
            over,
        ])
        .await;
}

#[tokio::test]
async fn channels_are_told_and_tested() {
    let house = House::new();
    some(&house).await;
    let router = house.router(Door::Tcp);
    let (status, _, body) = answer(&router, get("/notifications")).await;
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["channels"].as_array().unwrap().len(), 5);
    let slack = told["channels"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["channel"] == "slack")
        .unwrap();
    assert_eq!((&slack["waiting"], &slack["trouble"]["tries"]), (&3.into(), &4.into()));
    assert_eq!(
        (&told["recent"][0]["state"], &told["recent"][0]["cause"]),
        (&"refused".into(), &"answered 422".into())
    );
    assert_eq!(told["recent"][1]["content"]["kind"], "alert");

    for (body, items) in [
        (json!({}), 5),
        (json!({ "channel": "slack" }), 1),
        (json!({ "channel": null }), 5),
    ] {
        let (status, _, answer) = answer(&router, send("POST", "/notifications/test", &body)).await;
        let told: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            (status.as_u16(), told["items"].as_array().map(Vec::len)),
            (200, Some(items)),
            "{told}"
        );
    }
    let (status, _, body) = answer(
        &router,
        send("POST", "/notifications/test", &json!({ "channel": "pigeon" })),
    )
    .await;
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 422);
    assert!(
        problem["detail"].as_str().unwrap().contains("`email`, `slack`"),
        "{problem}"
    );
    let audit = house
        .state
        .store
        .audit(crate::store::AuditFilter::default())
        .await
        .unwrap();
    let told = audit
        .items
        .iter()
        .find(|line| line.verb == "api.notifications.test" && line.subject == "slack")
        .unwrap();
    assert_eq!(
        (told.actor.as_str(), told.detail.as_str()),
        ("dashboard", "slack not taken")
    );
}
