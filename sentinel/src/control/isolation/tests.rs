//! What the room does without an engine: what it remembers, what it tells, what it never forgets.

use super::*;
use crate::bus::Bus;
use crate::containers::OwnIds;
use crate::metrics::Metrics;
use crate::store::testing::opened;
use crate::store::{ActionFilter, AuditEntry, AuditFilter, Store};
use crate::time;
use crate::types::{Action, ActionKind, Component, Health, Timestamp};
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

struct Rig {
    dir: TempDir,
    store: Store,
    health: watch::Receiver<Arc<Health>>,
    wanted: watch::Sender<Arc<ToIsolate>>,
    known: watch::Sender<Arc<ContainerSet>>,
    room: Option<Isolations>,
}

impl Rig {
    fn new(dir: TempDir) -> Self {
        let (store, writer) = opened(&dir.path().join("sentinel.db"));
        std::thread::spawn(move || writer.run());
        let (health_tx, health) = watch::channel(Arc::default());
        let (wanted, wanted_rx) = watch::channel(Arc::default());
        let (known, known_rx) = watch::channel(Arc::new(ContainerSet::unasked()));
        let deps = BesideDeps {
            store: store.clone(),
            bus: Bus::default(),
            metrics: Arc::new(Metrics::new()),
            health: health_tx,
            clock: time::clock(),
        };
        let engine = Arc::new(Engine::new(
            Path::new("/nonexistent/docker.sock"),
            Duration::from_millis(200),
        ));
        let protection = Protection::new(&[], OwnIds::default());
        let room = Isolations::new(engine, protection, None, wanted_rx, known_rx, deps);
        Self {
            dir,
            store,
            health,
            wanted,
            known,
            room: Some(room),
        }
    }

    /// Stores an action with what is needed to undo it.
    async fn stored(&self, action: &Action, undo: &serde_json::Value) {
        let records = vec![
            Record::Action(Arc::new(action.clone())),
            Record::Undo {
                action: action.id,
                json: undo.to_string(),
            },
        ];
        self.store.commit(records).await.unwrap();
    }

    fn want(&self, id: DecisionId, simulated: bool) {
        let wish = Isolate {
            address: "172.17.0.2".parse().unwrap(),
            simulated,
            expires_at: Some(Timestamp(i64::MAX)),
        };
        self.wanted.send_replace(Arc::new([(id, wish)].into()));
    }

    async fn actions(&self) -> Vec<Action> {
        self.store.actions(ActionFilter::default()).await.unwrap().items
    }

    fn cause(&self) -> String {
        match self.health.borrow().components.get(&Component::Containers) {
            Some(Condition::Degraded { cause, .. }) => cause.clone(),
            other => format!("{other:?}"),
        }
    }

    async fn audit(&self) -> Vec<AuditEntry> {
        self.store.audit(AuditFilter::default()).await.unwrap().items
    }

    fn standing(&self) -> i64 {
        self.room.as_ref().unwrap().deps.metrics.isolations_active.get()
    }

    /// The room of the next start, on the same database.
    fn again(mut self) -> Self {
        self.room = None;
        self.store.close();
        let Self { dir, store, .. } = self;
        drop(store);
        Self::new(dir)
    }

    async fn pass(&mut self) {
        let mut room = self.room.take().unwrap();
        room.pass().await;
        self.room = Some(room);
    }
}

/// An engine whose containers were all removed.
fn emptied(dir: &Path) -> Arc<Engine> {
    let socket = dir.join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(knows_nobody(stream));
        }
    });
    Arc::new(Engine::new(&socket, Duration::from_secs(20)))
}

async fn knows_nobody(mut stream: UnixStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let asked = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let (status, body) = match asked.lines().next() {
            Some(line) if line.contains("/version ") => (200, r#"{"ApiVersion":"1.41","Version":"20.10"}"#),
            _ => (404, r#"{"message":"No such container: c"}"#),
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn decision() -> DecisionId {
    Mint::Random.decision(Timestamp(1_700_000_000_000_000_000))
}

#[tokio::test]
async fn an_engine_that_is_away_leaves_an_intent_that_the_next_start_takes_up_and_ends() {
    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    let id = decision();
    rig.want(id, false);
    rig.pass().await;
    let action = rig.actions().await.remove(0);
    assert_eq!(
        (action.decision, action.kind, action.status),
        (id, ActionKind::IsolateContainer, ActionStatus::Intent)
    );
    assert!(
        action.outcome.contains("not isolated yet: the container engine at"),
        "{}",
        action.outcome
    );
    assert!(rig.cause().contains("not isolated yet"), "{}", rig.cause());

    let mut rig = rig.again();
    rig.room.as_mut().unwrap().recall().await.unwrap();
    rig.pass().await;
    let ended = rig.actions().await;
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].id, ended[0].status), (action.id, ActionStatus::Reverted));
    assert_eq!(ended[0].outcome, "over; nothing was disconnected");
}

#[tokio::test]
async fn what_was_told_only_is_done_once_it_is_wanted() {
    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    let id = decision();
    rig.want(id, true);
    rig.pass().await;
    // As where the engine had answered.
    rig.room
        .as_mut()
        .unwrap()
        .cases
        .get_mut(&id)
        .unwrap()
        .settle(Stage::Simulated);
    rig.want(id, false);
    rig.pass().await;
    let mut told: Vec<_> = rig.actions().await.iter().map(|action| action.status).collect();
    told.sort_by_key(|status| *status == ActionStatus::Intent);
    assert_eq!(
        told,
        [ActionStatus::Reverted, ActionStatus::Intent],
        "ended as told, begun as real"
    );
}

#[tokio::test]
async fn what_was_cut_off_is_never_told_as_undone_while_the_engine_is_away() {
    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    let id = decision();
    let wish = Isolate {
        address: "172.17.0.2".parse().unwrap(),
        simulated: false,
        expires_at: None,
    };
    for (name, undo, words) in [
        (
            "good",
            json!({ "version": 1, "container": "c", "name": "web", "endpoints": [], "ports": {}, "quarantine": null }),
            "over, and not put back yet",
        ),
        ("newer", json!({ "version": 9 }), "of version 9"),
    ] {
        let mut case = Case::new(Mint::Random.action(Timestamp(1)), id, &wish, Timestamp(1));
        case.action.status = ActionStatus::Enforced;
        rig.stored(&case.action, &undo).await;
        rig.room.as_mut().unwrap().cases.clear();
        rig.room.as_mut().unwrap().recall().await.unwrap();
        rig.pass().await;
        let action = rig.store.action(case.action.id).await.unwrap().unwrap();
        assert_eq!(action.status, ActionStatus::Enforced, "{name}");
        assert!(action.outcome.contains(words), "{name}: {}", action.outcome);
        assert!(
            rig.cause().contains("a container is not put back"),
            "{name}: {}",
            rig.cause()
        );
        assert_eq!(rig.room.as_ref().unwrap().cases.len(), 1, "{name}: it is tried again");
        rig.store
            .commit(vec![Record::Action(Arc::new(Action {
                status: ActionStatus::Reverted,
                ..action
            }))])
            .await
            .unwrap();
    }
    drop(rig.known);
}

#[tokio::test]
async fn a_container_removed_while_it_is_cut_off_is_told_once_and_isolated_no_more() {
    const WORDS: &str = "container web was cut off until it was removed; what runs under its name or address now is \
                         not isolated";
    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    let engine = emptied(rig.dir.path());
    let id = decision();
    let wish = Isolate {
        address: "172.17.0.2".parse().unwrap(),
        simulated: false,
        expires_at: None,
    };
    let mut case = Case::new(Mint::Random.action(Timestamp(1)), id, &wish, Timestamp(1));
    case.action.status = ActionStatus::Enforced;
    case.action.outcome = "container web was disconnected from a, and is connected to no network, read back".to_owned();
    let undo =
        json!({ "version": 1, "container": "c", "name": "web", "endpoints": [], "ports": {}, "quarantine": null });
    rig.stored(&case.action, &undo).await;
    rig.want(id, false);
    let room = rig.room.as_mut().unwrap();
    room.recall().await.unwrap();
    // Before it is looked at nothing says otherwise.
    room.report();
    assert_eq!(rig.standing(), 1);
    rig.room.as_mut().unwrap().engine = Arc::clone(&engine);
    rig.known.send_replace(Arc::default());
    for _ in 0..2 {
        rig.pass().await;
        rig.room.as_mut().unwrap().cases.get_mut(&id).unwrap().due = Some(Instant::now());
        let told = rig.actions().await.remove(0);
        assert_eq!((told.status, told.outcome.as_str()), (ActionStatus::Enforced, WORDS));
    }
    assert_eq!(
        (rig.standing(), rig.cause().contains(" 0 isolated")),
        (0, true),
        "{}",
        rig.cause()
    );
    let audit = rig.audit().await;
    assert_eq!((audit.len(), audit[0].verb.as_str()), (1, "removed"), "told once");

    // The next start, where the engine is away.
    let mut rig = rig.again();
    rig.want(id, false);
    rig.room.as_mut().unwrap().recall().await.unwrap();
    rig.pass().await;
    let told = rig.actions().await.remove(0);
    assert_eq!((told.status, told.outcome.as_str()), (ActionStatus::Enforced, WORDS));
    assert_eq!((rig.standing(), rig.audit().await.len()), (0, 1));

    // It answers again, and another container was given the address.
    let away = std::mem::replace(&mut rig.room.as_mut().unwrap().engine, engine);
    let heir = Owner {
        id: "d".into(),
        name: "web".into(),
        protected: None,
    };
    rig.known.send_replace(Arc::new(ContainerSet {
        fault: None,
        owners: [(wish.address, vec![heir])].into(),
    }));
    rig.room.as_mut().unwrap().news();
    rig.pass().await;
    let told = rig.actions().await.remove(0);
    let warned = format!("{WORDS}; container web has been given 172.17.0.2 meanwhile, and meets the kernel's block");
    assert!(told.outcome.starts_with(&warned), "{}", told.outcome);
    let room = rig.room.as_mut().unwrap();
    room.news();
    assert!(!room.cases[&id].is_due(), "nothing new");
    assert_eq!(rig.standing(), 0);

    // Over: nothing is waited for.
    rig.room.as_mut().unwrap().engine = away;
    rig.wanted.send_replace(Arc::default());
    rig.pass().await;
    let ended = rig.actions().await.remove(0);
    assert_eq!(
        (ended.status, ended.outcome.as_str()),
        (ActionStatus::Reverted, "container web is gone; nothing to put back")
    );
    assert!(rig.room.as_ref().unwrap().cases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_a_minute_and_news_end_them() {
    let wish = Isolate {
        address: "172.17.0.2".parse().unwrap(),
        simulated: false,
        expires_at: None,
    };
    let mut case = Case::new(Mint::Random.action(Timestamp(1)), decision(), &wish, Timestamp(1));
    let mut pauses = Vec::new();
    for _ in 0..40 {
        case.retry();
        pauses.push(case.due.unwrap().duration_since(Instant::now()).as_secs());
    }
    assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(pauses[39], 60);
    assert!(!case.is_due() && case.concerns(&ContainerSet::default()));
    let owner = Owner {
        id: "c".into(),
        name: "web".into(),
        protected: None,
    };
    let known = ContainerSet {
        fault: None,
        owners: [(wish.address, vec![owner.clone()])].into(),
    };
    case.settle(Stage::Refused(Vec::new()));
    assert!(case.concerns(&known), "somebody has the address now");
    case.settle(Stage::Refused(vec![owner]));
    assert!(!case.concerns(&known), "nothing new");
}
