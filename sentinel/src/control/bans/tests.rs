//! The room against a Bettercap that behaves, and against others.

mod over;

use super::*;
use crate::bettercap::tests::scripted::{Mood, SUBNET, Scripted};
use crate::bettercap::tests::{config, patient};
use crate::bus::Bus;
use crate::metrics::Metrics;
use crate::store::testing::opened;
use crate::store::{ActionFilter, Store};
use crate::time;
use crate::types::{Action, ActionKind, Ban, Component, Health, Timestamp};
use tempfile::TempDir;

const ON: [&str; 2] = ["set arp.spoof.targets 192.0.2.7", "arp.ban on"];
const OFF: [&str; 2] = ["arp.ban off", "set arp.spoof.targets <entire subnet>"];

struct Rig {
    dir: TempDir,
    server: Scripted,
    store: Store,
    health: watch::Receiver<Arc<Health>>,
    metrics: Arc<Metrics>,
    wanted: watch::Sender<Arc<ToBan>>,
    protected: watch::Sender<Arc<Vec<Protected>>>,
    room: Option<Bans>,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "0\n").unwrap();
        }
        Self::on(dir, Scripted::new())
    }

    fn on(dir: TempDir, server: Scripted) -> Self {
        let (store, writer) = opened(&dir.path().join("sentinel.db"));
        std::thread::spawn(move || writer.run());
        let (health_tx, health) = watch::channel(Arc::default());
        let (wanted, wanted_rx) = watch::channel(Arc::default());
        let own = Protected {
            target: "192.0.2.2/32".parse().unwrap(),
            guard: "own_address".to_owned(),
            reason: "ours".to_owned(),
        };
        let (protected, protected_rx) = watch::channel(Arc::new(vec![own]));
        let metrics = Arc::new(Metrics::new());
        let deps = BesideDeps {
            store: store.clone(),
            bus: Bus::default(),
            metrics: Arc::clone(&metrics),
            health: health_tx,
            clock: time::clock(),
        };
        let session = Session::new(&patient(format!("ws://{}", server.at), "hunter2")).unwrap();
        let mut room = Bans::new(session, wanted_rx, protected_rx, deps);
        room.sysctl = dir.path().to_owned();
        Self {
            dir,
            server,
            store,
            health,
            metrics,
            wanted,
            protected,
            room: Some(room),
        }
    }

    /// The room of the next start, on the same database, after what `kill -9` does.
    async fn again(mut self) -> Self {
        self.room = None;
        self.store.close();
        let Self { dir, store, server, .. } = self;
        drop(store);
        let mut rig = Self::on(dir, server);
        rig.room.as_mut().unwrap().recall().await.unwrap();
        rig
    }

    fn want(&self, wishes: &[(DecisionId, &str, bool)]) {
        let each = wishes.iter().map(|(id, address, simulated)| {
            let ban = Ban {
                address: address.parse().unwrap(),
                simulated: *simulated,
                expires_at: Some(Timestamp(i64::MAX)),
            };
            (*id, ban)
        });
        self.wanted.send_replace(Arc::new(each.collect()));
    }

    async fn pass(&mut self) {
        let mut room = self.room.take().unwrap();
        room.pass().await;
        self.room = Some(room);
    }

    async fn actions(&self) -> Vec<Action> {
        self.store.actions(ActionFilter::default()).await.unwrap().items
    }

    async fn only(&self) -> (ActionStatus, String) {
        let mut actions = self.actions().await;
        assert_eq!(actions.len(), 1, "{actions:?}");
        let action = actions.remove(0);
        assert_eq!(action.kind, ActionKind::ArpBan);
        (action.status, action.outcome)
    }

    fn cause(&self) -> String {
        match self.health.borrow().components.get(&Component::ArpBan) {
            Some(Condition::Degraded { cause, .. }) => cause.clone(),
            other => format!("{other:?}"),
        }
    }

    fn due(&self) -> bool {
        self.room.as_ref().unwrap().due.is_some()
    }
}

fn decision() -> DecisionId {
    Mint::Random.decision(Timestamp(1_700_000_000_000_000_000))
}

#[tokio::test]
async fn a_neighbour_is_banned_read_back_and_let_go_with_its_decision() {
    let mut rig = Rig::new();
    let (one, two) = (decision(), decision());
    rig.pass().await;
    assert_eq!(
        rig.server.with(|stage| stage.asked),
        0,
        "nobody to ban, and nothing is asked"
    );
    rig.want(&[(one, "192.0.2.7", false)]);
    rig.pass().await;
    assert_eq!(rig.server.told(), ON);
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Enforced, "{outcome}");
    assert!(outcome.contains("from the gateway 192.0.2.1, read back"), "{outcome}");
    assert!(rig.metrics.encode().unwrap().contains("sentinel_arp_bans_active 1"));
    rig.pass().await;
    assert_eq!(rig.server.told(), Vec::<String>::new(), "what stands is left alone");

    rig.want(&[(one, "192.0.2.7", false), (two, "192.0.2.8", false)]);
    rig.pass().await;
    let both = "set arp.spoof.targets 192.0.2.7,192.0.2.8";
    assert_eq!(
        rig.server.told(),
        ["arp.ban off", both, "arp.ban on"],
        "targets are read at the start"
    );
    rig.want(&[(one, "192.0.2.7", false)]);
    rig.pass().await;
    assert_eq!(rig.server.told(), ["arp.ban off", ON[0], ON[1]]);
    rig.want(&[]);
    rig.pass().await;
    assert_eq!(rig.server.told(), OFF);
    assert!(!rig.due());
    for action in rig.actions().await {
        assert_eq!(action.status, ActionStatus::Reverted, "{}", action.outcome);
        assert!(action.outcome.contains("read back"), "{}", action.outcome);
    }
    let audit = rig.store.bans().await.unwrap();
    assert!(audit.is_empty());
}

#[tokio::test]
async fn simulation_asks_nothing_and_a_stop_lifts() {
    let mut rig = Rig::new();
    let id = decision();
    rig.want(&[(id, "192.0.2.7", true)]);
    rig.pass().await;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Simulated);
    assert!(outcome.contains("nothing was asked of Bettercap"), "{outcome}");
    assert_eq!(rig.server.with(|stage| stage.asked), 0);

    rig.want(&[(id, "192.0.2.7", false)]);
    rig.pass().await;
    rig.pass().await;
    assert_eq!(rig.server.told(), ON);
    // Acting is stopped: what stands is lifted, and told as what would be.
    rig.want(&[(id, "192.0.2.7", true)]);
    rig.pass().await;
    rig.pass().await;
    assert_eq!(rig.server.told(), OFF);
    let statuses: Vec<ActionStatus> = rig.actions().await.iter().map(|action| action.status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == ActionStatus::Reverted).count(), 2);
    assert_eq!(statuses.iter().filter(|s| **s == ActionStatus::Simulated).count(), 1);
}

#[tokio::test]
async fn it_never_starts_with_targets_that_are_not_ours_alone() {
    let mut rig = Rig::new();
    for mood in [Mood::Adds("192.0.2.1"), Mood::Lies("set")] {
        rig.server.with(|stage| stage.mood = mood.clone());
        rig.want(&[(decision(), "192.0.2.7", false)]);
        rig.pass().await;
        assert_eq!(
            rig.server.with(|stage| stage.started.clone()),
            Vec::<String>::new(),
            "{mood:?}"
        );
        assert!(rig.cause().contains("not what was set"), "{}", rig.cause());
    }
    rig.server.with(|stage| stage.mood = Mood::Lies("arp.ban on"));
    rig.pass().await;
    let statuses: Vec<ActionStatus> = rig.actions().await.iter().map(|action| action.status).collect();
    assert!(
        !statuses.contains(&ActionStatus::Enforced),
        "a yes is not a ban: {statuses:?}"
    );
    assert!(
        rig.cause().contains("says yes, and does something else"),
        "{}",
        rig.cause()
    );
}

#[tokio::test]
async fn an_arp_spoof_of_somebody_else_is_left_alone() {
    let mut rig = Rig::new();
    rig.server.with(|stage| {
        stage.running = true;
        stage.targets = "192.0.2.99".to_owned();
    });
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Failed);
    assert!(outcome.contains("for somebody else"), "{outcome}");
    assert_eq!(rig.server.told(), Vec::<String>::new());
    rig.server.with(|stage| stage.running = false);
    assert!(rig.due(), "it is looked at again");
    rig.pass().await;
    assert_eq!(rig.only().await.0, ActionStatus::Enforced);
    rig.want(&[]);
    rig.pass().await;
    assert_eq!(
        rig.server.with(|stage| stage.targets.clone()),
        "192.0.2.99",
        "as it was"
    );
}

#[tokio::test]
async fn a_router_bans_nobody_and_one_that_becomes_one_lifts() {
    let mut rig = Rig::new();
    let switch = |rig: &Rig, file: &str, to: &str| std::fs::write(rig.dir.path().join(file), to).unwrap();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        switch(&rig, file, "1\n");
        rig.pass().await;
        let (status, outcome) = rig.only().await;
        assert_eq!(status, ActionStatus::Failed);
        assert!(outcome.contains("is a router"), "{outcome}");
        switch(&rig, file, "0\n");
    }
    assert_eq!(rig.server.told(), Vec::<String>::new());
    assert!(
        rig.metrics
            .encode()
            .unwrap()
            .contains("sentinel_arp_bans_refused_total{reason=\"forwarding\"} 2")
    );
    rig.pass().await;
    assert_eq!(rig.server.told(), ON);
    switch(&rig, "ipv4/ip_forward", "1\n");
    rig.pass().await;
    assert_eq!(rig.server.told(), OFF);
    assert_eq!(rig.only().await.0, ActionStatus::Failed);
}

#[tokio::test]
async fn who_becomes_protected_is_let_go() {
    let mut rig = Rig::new();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    rig.server.told();
    let listed = Protected {
        target: "192.0.2.0/29".parse().unwrap(),
        guard: "allowlist".to_owned(),
        reason: "listed".to_owned(),
    };
    let mut all = rig.protected.borrow().to_vec();
    all.push(listed);
    rig.protected.send_replace(Arc::new(all));
    rig.pass().await;
    assert_eq!(rig.server.told(), OFF);
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Failed);
    assert!(outcome.contains("guard `allowlist`"), "{outcome}");
}

#[tokio::test]
async fn a_bettercap_that_hangs_or_is_away_is_said_and_tried_again() {
    let mut rig = Rig::new();
    let id = decision();
    rig.want(&[(id, "192.0.2.7", false)]);
    rig.server
        .with(|stage| stage.mood = Mood::Slow(Duration::from_secs(30)));
    let hasty = Session::new(&config(format!("ws://{}", rig.server.at), "hunter2")).unwrap();
    let patient = std::mem::replace(&mut rig.room.as_mut().unwrap().session, hasty);
    rig.pass().await;
    rig.room.as_mut().unwrap().session = patient;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Intent);
    assert!(
        outcome.contains("not banned yet: Bettercap does not answer"),
        "{outcome}"
    );
    assert!(rig.due() && rig.cause().contains("does not answer"), "{}", rig.cause());
    rig.server.with(|stage| stage.mood = Mood::Good);
    rig.pass().await;
    assert_eq!(rig.only().await.0, ActionStatus::Enforced);
    // Over while it is away: never told as lifted.
    rig.server.with(|stage| stage.mood = Mood::Says(500, String::new()));
    rig.want(&[]);
    rig.pass().await;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Enforced);
    assert!(outcome.contains("over, and not lifted yet"), "{outcome}");
    assert!(rig.due());
    rig.server.with(|stage| stage.mood = Mood::Good);
    rig.server.told();
    rig.pass().await;
    assert_eq!(rig.server.told(), OFF);
    assert_eq!(rig.only().await.0, ActionStatus::Reverted);
}

#[tokio::test]
async fn a_target_whose_mac_is_not_known_is_not_told_as_banned() {
    let mut rig = Rig::new();
    rig.server.with(|stage| stage.hosts.clear());
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Intent);
    assert!(outcome.contains("knows no MAC"), "{outcome}");
    assert!(rig.due());
    rig.server.with(|stage| stage.hosts.push("192.0.2.7".to_owned()));
    rig.pass().await;
    assert_eq!(rig.only().await.0, ActionStatus::Enforced);
}

/// Ends both after `commands` commands; the next start goes on, with or without the wish.
async fn struck(commands: usize, lifting: bool, wanted: bool) {
    let mut rig = Rig::new();
    let id = decision();
    let wish = [(id, "192.0.2.7", false)];
    rig.want(&wish);
    if lifting {
        rig.pass().await;
        rig.want(&[]);
    }
    rig.server.with(|stage| stage.mood = Mood::Dies(commands));
    rig.pass().await;
    let rig_was = rig.server.with(|stage| (stage.running, stage.targets.clone()));
    let mut rig = rig.again().await;
    rig.server.with(|stage| stage.mood = Mood::Good);
    if wanted {
        rig.want(&wish);
    }
    for _ in 0..3 {
        rig.pass().await;
    }
    let about = format!("{commands} {lifting} {wanted}, it was {rig_was:?}");
    let (running, targets, started) = rig
        .server
        .with(|stage| (stage.running, stage.targets.clone(), stage.started.clone()));
    assert!(started.iter().all(|with| with == "192.0.2.7"), "{about}: {started:?}");
    let actions = rig.actions().await;
    let standing = actions
        .iter()
        .filter(|action| action.status == ActionStatus::Enforced)
        .count();
    assert!(
        actions.iter().all(|action| action.status != ActionStatus::Intent),
        "{about}: {actions:?}"
    );
    if wanted {
        assert_eq!((running, targets.as_str(), standing), (true, "192.0.2.7", 1), "{about}");
    } else {
        assert_eq!((running, targets.as_str(), standing), (false, SUBNET, 0), "{about}");
    }
}

#[tokio::test]
async fn killed_between_any_two_commands_the_next_start_goes_on_either_way() {
    for commands in 1..=2 {
        for lifting in [false, true] {
            for wanted in [false, true] {
                struck(commands, lifting, wanted).await;
            }
        }
    }
}

#[tokio::test]
async fn a_bettercap_that_was_killed_bans_again_or_tells_the_truth() {
    let mut rig = Rig::new();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    let fresh = |rig: &Rig| {
        rig.server
            .with(|stage| (stage.running, stage.targets) = (false, SUBNET.to_owned()));
        rig.server.told();
    };
    fresh(&rig);
    rig.pass().await;
    assert_eq!(rig.server.told(), ON);
    fresh(&rig);
    rig.want(&[]);
    rig.pass().await;
    assert_eq!(
        rig.server.told(),
        [ON[0], ON[1], OFF[0], OFF[1]],
        "only what starts can stop"
    );
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Reverted);
    assert!(outcome.contains("and was told the gateway's own address"), "{outcome}");
}
