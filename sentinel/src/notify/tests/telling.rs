//! The whole room.

use super::*;
use crate::types::testing::{action, decision};
use crate::types::{Action, ActionKind, ActionStatus, Decision};

fn away(_: &Letter, _: usize) -> Result<(), ChannelError> {
    Err(ChannelError::away("nobody listens there", "start it"))
}

const FINE: Says = |_, _| Ok(());

fn clock() -> Timestamp {
    crate::time::wall_now()
}

/// 10,000 alerts at once: the file gets every one, mail ten messages and one digest that says how many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_alerts_are_ten_messages_and_a_digest() {
    static CLOCK: AtomicI64 = AtomicI64::new(NOON.0);
    fn now() -> Timestamp {
        Timestamp(CLOCK.load(Ordering::Relaxed))
    }
    let directory = tempfile::tempdir().unwrap();
    let mut config = settings();
    config.digest = Duration::from_secs(4);
    let (mail, got) = channel(ChannelKind::Email, FINE);
    let (file, lines) = channel(ChannelKind::File, FINE);
    let house = House::open(directory.path(), &config, vec![mail, file], now);
    house.ready().await;
    house.raise(&storm(100, 100)).await;
    house.routed().await;
    // However long that took, the digest is due from here on.
    CLOCK.fetch_add(5_000_000_000, Ordering::Relaxed);
    let digests = |got: &Mutex<Vec<Letter>>| {
        got.lock()
            .unwrap()
            .iter()
            .filter(|letter| letter.kind == "digest")
            .count()
    };
    while digests(&got) == 0 || lines.lock().unwrap().len() < 10_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let letters = got.lock().unwrap().clone();
    assert_eq!((letters.len(), digests(&got)), (11, 1));
    let digest = letters.iter().find(|letter| letter.kind == "digest").unwrap();
    assert_eq!(digest.data["digest"]["alerts"], 9_990);
    assert_eq!(digest.title, "high: 9990 alerts told together");
    let ids: BTreeSet<_> = lines
        .lock()
        .unwrap()
        .iter()
        .map(|letter| letter.data["alert"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 10_000, "each once");
    // What was sent is counted once the database has it.
    let sent = "sentinel_notifications_total{channel=\"email\",result=\"sent\"} 11";
    for _ in 0..3_000 {
        if house.metrics.encode().unwrap().contains(sent) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = house.metrics.encode().unwrap();
    assert!(text.contains(sent), "{text}");
    assert!(
        text.contains("sentinel_notifications_folded_total{channel=\"email\",reason=\"duplicate\"}"),
        "{text}"
    );
    house.close().await;
}

/// An hour during which nothing is taken; killed in the middle; then everything comes, in order, once.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_hour_s_outage_and_a_kill_lose_nothing() {
    static CLOCK: AtomicI64 = AtomicI64::new(NOON.0);
    fn now() -> Timestamp {
        Timestamp(CLOCK.load(Ordering::Relaxed))
    }
    let pass = |time: Duration| async move {
        CLOCK.fetch_add(time.as_nanos() as i64, Ordering::Relaxed);
        tokio::time::sleep(time).await;
    };
    let directory = tempfile::tempdir().unwrap();
    let config = settings();
    let (mail, _) = channel(ChannelKind::Email, away);
    let house = House::open(directory.path(), &config, vec![mail], now);
    house.ready().await;
    let alerts = storm(7, 1);
    let began = tokio::time::Instant::now();
    for one in &alerts[..4] {
        house.raise(std::slice::from_ref(one)).await;
        house.routed().await;
        pass(Duration::from_mins(6)).await;
    }
    let trouble = house.status.borrow()[&ChannelKind::Email].trouble.clone().unwrap();
    // Time that is not real passes too while the database is waited for.
    let most = 40.0 * began.elapsed().as_secs_f64() / Duration::from_mins(24).as_secs_f64();
    assert!(
        trouble.tries >= 8 && f64::from(trouble.tries) < most,
        "patience grows: {trouble:?}"
    );
    assert_eq!(
        (
            trouble.cause.as_str(),
            house.status.borrow()[&ChannelKind::Email].waiting
        ),
        ("nobody listens there", 4)
    );
    let condition = house.health.borrow().components[&crate::types::Component::Notify].clone();
    assert!(
        matches!(&condition, Condition::Degraded { cause, mend } if cause.contains("email: nobody listens there (4 messages wait)") && mend == "start it"),
        "{condition:?}"
    );
    house.raise(&alerts[4..5]).await;
    house.kill().await;

    let (mail, got) = channel(
        ChannelKind::Email,
        |_, tries| if tries < 6 { away(&blank(), 0) } else { Ok(()) },
    );
    let house = House::open(directory.path(), &config, vec![mail], now);
    house.raise(&alerts[5..]).await;
    pass(Duration::from_mins(36)).await;
    house.routed().await;
    while got.lock().unwrap().len() < 7 {
        pass(Duration::from_secs(1)).await;
    }
    let told: Vec<_> = got
        .lock()
        .unwrap()
        .iter()
        .map(|letter| letter.data["alert"]["id"].clone())
        .collect();
    let raised: Vec<_> = alerts.iter().map(|one| serde_json::json!(one.id)).collect();
    assert_eq!(told, raised, "in order, each once");
    // What was sent is told once the database has it, which a busy machine takes its time for.
    let waiting = || house.status.borrow()[&ChannelKind::Email].waiting;
    for _ in 0..60 {
        pass(Duration::from_secs(1)).await;
        if waiting() == 0 {
            break;
        }
    }
    let status = house.status.borrow()[&ChannelKind::Email].clone();
    assert_eq!(
        (status.waiting, status.trouble.is_none(), status.sent_at.is_some()),
        (0, true, true)
    );
    assert!(!house.health.borrow().degraded());
    house.close().await;
}

fn blank() -> Letter {
    let sender = Sender {
        host: String::new(),
        dashboard: String::new(),
    };
    Letter::test("x", Mint::Random.message(NOON), NOON, &sender)
}

/// Killed after it was taken and before that was written down: told twice under one name, never not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_taken_and_written_down_tells_twice_by_one_name() {
    let directory = tempfile::tempdir().unwrap();
    let config = settings();
    let message = Message {
        id: Mint::Random.message(NOON),
        channel: ChannelKind::File,
        at: NOON,
        due: NOON,
        content: Content::Test { by: "me".to_owned() },
    };
    for _ in 0..2 {
        let (file, got) = channel(ChannelKind::File, FINE);
        let house = House::open(directory.path(), &config, vec![file], clock);
        house
            .store
            .commit(vec![Record::Message(Box::new(message.clone()))])
            .await
            .unwrap();
        if got.lock().unwrap().is_empty() {
            house
                .bus
                .publish(Event::Alert(Arc::new(alert(&mut Mint::Random, NOON))));
        }
        house.kill().await;
    }
    let (file, got) = channel(ChannelKind::File, FINE);
    let house = House::open(directory.path(), &config, vec![file], clock);
    while !house
        .store
        .next_messages(ChannelKind::File, 1)
        .await
        .unwrap()
        .is_empty()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = got.lock().unwrap().len();
    assert!(told <= 1, "what was told and written down is over");
    let rows = house.store.latest_messages(None, 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].message.id, rows[0].state), (message.id, MessageState::Sent));
    house.close().await;
}

/// One that hangs and one that is away hold up nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_down_delays_no_other() {
    #[derive(Debug)]
    struct Hangs;
    impl Channel for Hangs {
        fn kind(&self) -> ChannelKind {
            ChannelKind::Email
        }

        fn deliver<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Result<(), ChannelError>> {
            Box::pin(std::future::pending())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut config = settings();
    config.slack.url = Some(crate::types::Secret::new("https://hooks.example.com/x"));
    let (slack, _) = channel(ChannelKind::Slack, away);
    let (file, got) = channel(ChannelKind::File, FINE);
    let house = House::open(directory.path(), &config, vec![Box::new(Hangs), slack, file], clock);
    house.ready().await;
    house.raise(&storm(20, 1)).await;
    while got.lock().unwrap().len() < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What waits is told a little after it was put down.
    let waiting = || house.status.borrow()[&ChannelKind::Email].waiting;
    for _ in 0..3_000 {
        if waiting() == 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(waiting(), 10);
    house.close().await;
}

/// What the other side does not want is given up after some tries, told of, and does not hold up the rest.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_message_nobody_wants_is_refused_and_told_of() {
    fn picky(letter: &Letter, _: usize) -> Result<(), ChannelError> {
        if letter.data["alert"]["source"] == "198.51.100.0" {
            return Err(ChannelError::new(Fault::Letter, "answered 422", "look at the receiver"));
        }
        Ok(())
    }
    static CLOCK: AtomicI64 = AtomicI64::new(NOON.0);
    fn now() -> Timestamp {
        Timestamp(CLOCK.fetch_add(50_000_000, Ordering::Relaxed))
    }
    let directory = tempfile::tempdir().unwrap();
    let (file, got) = channel(ChannelKind::File, picky);
    let house = House::open(directory.path(), &settings(), vec![file], now);
    house.ready().await;
    house.raise(&storm(3, 1)).await;
    while got.lock().unwrap().len() < 2 {
        CLOCK.fetch_add(1_000_000_000, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let rows = house.store.latest_messages(Some(ChannelKind::File), 10).await.unwrap();
    let refused: Vec<_> = rows.iter().filter(|row| row.state == MessageState::Refused).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].cause.as_deref(), Some("answered 422"));
    let audit = house.store.audit(crate::store::AuditFilter::default()).await.unwrap();
    assert!(audit.items.iter().any(|line| line.verb == "not_told"), "{audit:?}");
    house.close().await;
}

/// What was before the first start is no news.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_no_news() {
    let directory = tempfile::tempdir().unwrap();
    {
        let (store, writer) = Store::open(&directory.path().join("sentinel.db")).unwrap();
        let writer = std::thread::spawn(move || writer.run());
        let records = storm(5, 1)
            .into_iter()
            .map(|one| Record::Alert(Arc::new(one)))
            .collect();
        store.commit(records).await.unwrap();
        store.close();
        writer.join().unwrap();
    }
    let (file, got) = channel(ChannelKind::File, FINE);
    let house = House::open(directory.path(), &settings(), vec![file], clock);
    house.ready().await;
    let fresh = alert(&mut Mint::Random, NOON);
    house.raise(std::slice::from_ref(&fresh)).await;
    while got.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = got.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].data["alert"]["id"], serde_json::json!(fresh.id));
    assert_eq!(told[0].title, "medium: port scan by 203.0.113.7, nothing done so far");
    house.close().await;
}

/// The letter about an alert, of what is stored by then.
async fn letter_about(alert: &Alert, records: Vec<Record>) -> Letter {
    let directory = tempfile::tempdir().unwrap();
    let (file, got) = channel(ChannelKind::File, FINE);
    let house = House::open(directory.path(), &settings(), vec![file], clock);
    house.ready().await;
    house.store.commit(records).await.unwrap();
    house.raise(std::slice::from_ref(alert)).await;
    let comes = async {
        while got.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), comes).await.unwrap();
    let letter = got.lock().unwrap()[0].clone();
    house.close().await;
    letter
}

/// Whoever gets through by some way is not told to be blocked, in any of the texts that channels take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_in_part_is_told_so() {
    let told = async |kind: ActionKind, instead: &str| {
        let alert = alert(&mut Mint::Random, NOON);
        let decision = Decision {
            action: kind,
            expires_at: None,
            ..decision(&mut Mint::Random, &alert, NOON)
        };
        let carried_out = Action {
            outcome: format!("enforced by xdp (native), read back{instead}"),
            ..action(&mut Mint::Random, &decision)
        };
        let records = vec![
            Record::Action(Arc::new(carried_out)),
            Record::Decision(Arc::new(decision)),
        ];
        letter_about(&alert, records).await
    };
    let bare = "; but its packets pass on eth1, where our program cannot be attached";
    for (kind, instead, deed) in [
        (ActionKind::BlockIp, "", "is blocked"),
        (ActionKind::BlockIp, bare, "is blocked in part"),
        (ActionKind::RateLimit, bare, "is limited otherwise than meant"),
        (
            ActionKind::RedirectToHoneypot,
            "; but its packets are dropped, because `response.honeypot.v4` names none",
            "is not redirected to the honeypot as meant",
        ),
    ] {
        let letter = told(kind, instead).await;
        assert_eq!(letter.title, format!("medium: port scan by 203.0.113.7, {deed}"));
        assert_eq!(letter.values["action"], deed);
        let sentence = format!("203.0.113.7 {deed}. enforced by xdp (native), read back{instead}\n");
        assert!(letter.text().contains(&sentence), "{}", letter.text());
    }
}

/// A container that could not be cut off is not told to have been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_a_container_is_what_became_of_it() {
    let told = async |beside: ActionStatus, outcome: &str| {
        let alert = alert(&mut Mint::Random, NOON);
        let decision = Decision {
            action: ActionKind::IsolateContainer,
            expires_at: None,
            ..decision(&mut Mint::Random, &alert, NOON)
        };
        let action = |kind, status, outcome: &str| {
            Record::Action(Arc::new(Action {
                kind,
                status,
                outcome: outcome.to_owned(),
                ..action(&mut Mint::Random, &decision)
            }))
        };
        let records = vec![
            // As it may come: what is done beside the kernel first.
            action(ActionKind::IsolateContainer, beside, outcome),
            action(ActionKind::BlockIp, ActionStatus::Enforced, "blocked, read back"),
            Record::Decision(Arc::new(decision.clone())),
        ];
        let letter = letter_about(&alert, records).await;
        let said: Vec<String> = letter.sections.into_iter().flat_map(|(_, lines)| lines).collect();
        (letter.title, said.join("\n"))
    };
    let (title, said) = told(ActionStatus::Failed, "not isolated: it is guarded").await;
    assert_eq!(title, "medium: port scan by 203.0.113.7, is blocked");
    let sentences =
        "203.0.113.7 is blocked. blocked, read back\nBeside that (isolate container): not isolated: it is guarded";
    assert!(said.contains(sentences), "{said}");
    let (_, said) = told(ActionStatus::Intent, "").await;
    assert!(
        said.contains("Beside that (isolate container) it is being acted on"),
        "{said}"
    );
    let (title, said) = told(ActionStatus::Enforced, "off `lan`").await;
    let both = "medium: port scan by 203.0.113.7, is blocked and has its container isolated";
    assert_eq!(title, both);
    assert!(
        said.contains("203.0.113.7 has its container isolated. off `lan`"),
        "{said}"
    );
}
