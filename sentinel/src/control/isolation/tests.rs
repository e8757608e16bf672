//! What the room does without an engine: what it remembers, what it tells, what it never forgets.

use super::*;
use crate::bus::Bus;
use crate::containers::OwnIds;
use crate::metrics::Metrics;
use crate::store::testing::opened;
use crate::store::{ActionFilter, Store};
use crate::time;
use crate::types::{Action, ActionKind, Component, Health, Timestamp};
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

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
        let records = vec![
            Record::Action(Arc::new(case.action.clone())),
            Record::Undo {
                action: case.action.id,
                json: undo.to_string(),
            },
        ];
        rig.store.commit(records).await.unwrap();
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
