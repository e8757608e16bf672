//! What operators command: the stop, the allowlist, imports; over faults and restarts.

use super::*;
use crate::control::{NewSettings, Renewed};
use crate::respond::Enforcer;
use crate::types::{Acting, AllowDone, Allowed, Import, ImportError, Imported, Listed, Renewal};
use std::collections::{BTreeMap, BTreeSet};

impl House {
    pub(super) async fn act(&mut self, on: bool) -> Result<Acting, CommandError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Act {
            on,
            actor: "ann".into(),
            reason: "a drill".into(),
            reply,
        };
        self.desk.command(command).await;
        let told = answer.await.unwrap();
        while self.desk.retelling {
            self.desk.tick().await;
        }
        told
    }

    pub(super) async fn allow(&mut self, target: &str, seconds: Option<u64>) -> Result<AllowDone, CommandError> {
        let (reply, answer) = oneshot::channel();
        let wish = NewAllowed {
            target: net(target),
            comment: "a friend".into(),
            actor: "ann".into(),
            duration: seconds.map(Duration::from_secs),
        };
        self.desk.command(Command::Allow(wish, reply)).await;
        answer.await.unwrap()
    }

    async fn disallow(&mut self, target: &str) -> Result<Allowed, CommandError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Disallow {
            target: net(target),
            actor: "ann".into(),
            reply,
        };
        self.desk.command(command).await;
        answer.await.unwrap()
    }

    /// Begins an import, of which no part is carried out yet.
    pub(super) async fn begin(&mut self, import: Import) -> oneshot::Receiver<Result<Imported, ImportError>> {
        let (reply, answer) = oneshot::channel();
        self.desk.command(Command::Import(import, reply)).await;
        answer
    }

    async fn import(&mut self, import: Import) -> Result<Imported, ImportError> {
        let mut answer = self.begin(import).await;
        loop {
            if let Ok(told) = answer.try_recv() {
                return told;
            }
            self.desk.imports.ready().await;
            self.desk.import_part().await;
        }
    }

    async fn outcomes(&self) -> BTreeMap<String, (ActionStatus, String)> {
        let actions = self.store.actions(ActionFilter::default()).await.unwrap().items;
        let told = |a: Action| (a.target.to_string(), (a.status, a.outcome));
        actions.into_iter().rev().map(told).collect()
    }

    async fn verbs(&self) -> Vec<String> {
        let page = self.store.audit(crate::store::AuditFilter::default()).await.unwrap();
        page.items.into_iter().rev().map(|entry| entry.verb).collect()
    }
}

pub(super) fn list(targets: &[&str]) -> Import {
    let wish = |target: &&str| NewDecision {
        collateral: None,
        target: net(target),
        action: ActionKind::BlockIp,
        rate: None,
        egress: None,
        duration: Duration::from_mins(1),
        reason: "listed".into(),
        actor: "ann".into(),
    };
    Import {
        wishes: (1..)
            .zip(targets)
            .map(|(line, target)| Listed {
                line,
                wish: wish(target),
            })
            .collect(),
        actor: "ann".into(),
        ..Import::default()
    }
}

#[tokio::test]
async fn a_stop_is_read_back_kept_told_and_taken_back_over_a_restart() {
    let mut house = House::open(Mode::Production).await;
    let before = house.add("192.0.2.1/32", 600).await.unwrap();
    let told = house.act(false).await.unwrap();
    let stop = told.stopped.clone().expect("stopped");
    assert_eq!((stop.actor.as_str(), stop.reason.as_str()), ("ann", "a drill"));
    assert!(!house.rig.acting().unwrap());
    let calls = house.rig.inside().calls.clone();
    let place = |call: &str| calls.iter().rposition(|c| c == call).unwrap();
    assert!(
        place("switch false") < place("acting "),
        "read back after it: {calls:?}"
    );
    let kept = house.store.stop().await.unwrap().expect("kept");
    assert_eq!((kept.actor.as_str(), kept.at.0 / 1000), ("ann", stop.at.0 / 1000));
    let outcomes = house.outcomes().await;
    let (status, text) = &outcomes["192.0.2.1/32"];
    assert_eq!(*status, ActionStatus::Simulated);
    let want = format!("held back since {}: acting was stopped by ann", stop.at);
    assert!(text.starts_with(&want), "{text}");
    assert!(house.health.borrow().degraded());
    assert!(
        house.act(false).await.unwrap().stopped == Some(stop.clone()),
        "the first one's word stands"
    );

    // What is decided meanwhile is simulated; what was in force goes on with its name and its word.
    let meanwhile = house.add("192.0.2.2/32", 600).await.unwrap();
    assert!(meanwhile.simulated);
    let longer = house.add("192.0.2.1/32", 900).await.unwrap();
    assert_eq!((longer.id, longer.simulated), (before.id, false));
    house.attack("192.0.2.3").await;
    assert!(
        house
            .desk
            .judge
            .active()
            .all(|d| d.simulated || d.target == net("192.0.2.1/32"))
    );
    assert_eq!(house.outcomes().await["192.0.2.1/32"].0, ActionStatus::Simulated);
    house.all_agree().await;

    // It holds over a restart, and the entry says what it is.
    let mut rig = Rig::default();
    rig.set_acting(false).unwrap();
    let mut house = house.restart(Mode::Production, Clock::default(), rig).await;
    assert!(house.outcomes().await["192.0.2.1/32"].1.starts_with(&want));
    assert!(house.add("192.0.2.4/32", 600).await.unwrap().simulated);

    // Going on: the entries first, then the switch, then the word.
    house.rig.inside().calls.clear();
    assert_eq!(house.act(true).await.unwrap().stopped, None);
    let calls = house.rig.inside().calls.clone();
    let place = |call: &str| calls.iter().position(|c| c == call).unwrap();
    assert!(place("list ") < place("switch true") && place("switch true") < place("acting "));
    assert!(house.rig.acting().unwrap());
    assert_eq!(house.store.stop().await.unwrap(), None);
    let outcomes = house.outcomes().await;
    assert_eq!(outcomes["192.0.2.1/32"].0, ActionStatus::Enforced);
    assert!(outcomes["192.0.2.1/32"].1.contains("acting was resumed"));
    assert_eq!(
        outcomes["192.0.2.2/32"].0,
        ActionStatus::Simulated,
        "it was decided while nothing acted"
    );
    assert!(!house.add("192.0.2.5/32", 600).await.unwrap().simulated);
    house.all_agree().await;
    let verbs = house.verbs().await;
    for verb in ["acting_stopped", "acting_resumed"] {
        assert_eq!(verbs.iter().filter(|v| *v == verb).count(), 1, "{verbs:?}");
    }
}

#[tokio::test]
async fn a_switch_that_cannot_be_turned_is_no_stop_and_no_going_on() {
    for broken in ["switch", "acting"] {
        let mut house = House::open(Mode::Production).await;
        house.add("192.0.2.1/32", 600).await.unwrap();
        house.rig.breaks(&[broken]);
        assert!(
            matches!(house.act(false).await, Err(CommandError::Failed(_))),
            "{broken}"
        );
        assert_eq!(house.store.stop().await.unwrap(), None);
        house.rig.breaks(&[]);
        house.act(false).await.unwrap();
        house.rig.breaks(&[broken]);
        assert!(
            matches!(house.act(true).await, Err(CommandError::Failed(_))),
            "{broken}"
        );
        assert!(house.store.stop().await.unwrap().is_some());
        house.rig.breaks(&["list"]);
        assert!(matches!(house.act(true).await, Err(CommandError::Failed(_))));
        assert!(house.desk.stopped.is_some());
    }
}

#[tokio::test]
async fn a_switch_that_somebody_turned_is_turned_back_and_nothing_is_told_blocked_behind_it() {
    let mut house = House::open(Mode::Production).await;
    house.add("192.0.2.1/32", 600).await.unwrap();
    let condition = |house: &House| house.health.borrow().components[&Component::Enforcement].clone();
    // Seen by the next check, and said.
    house.rig.set_acting(false).unwrap();
    house.desk.self_check();
    assert!(house.rig.acting().unwrap());
    assert!(matches!(condition(&house), Condition::Degraded { cause, .. } if cause.contains("the switch")));
    assert_eq!(house.desk.deps.metrics.enforcement_drift.get(), 1);
    house.desk.self_check();
    assert!(matches!(condition(&house), Condition::Ok { .. }));
    // And by the next decision.
    house.rig.set_acting(false).unwrap();
    house.add("192.0.2.2/32", 600).await.unwrap();
    assert!(house.rig.acting().unwrap());
    // Which is none where it cannot be turned: its entry would only count.
    house.rig.set_acting(false).unwrap();
    house.rig.breaks(&["switch"]);
    assert!(matches!(
        house.add("192.0.2.3/32", 600).await,
        Err(CommandError::Failed(_))
    ));
    assert_eq!(house.outcomes().await["192.0.2.3/32"].0, ActionStatus::Failed);
    assert!(!house.rig.blocks().contains(&net("192.0.2.3/32")));
    house.desk.self_check();
    assert!(matches!(condition(&house), Condition::Degraded { .. }));
    house.rig.breaks(&[]);

    // A stop is held as firmly, also where it could not be told whether it stands.
    house.desk.self_check();
    house.act(false).await.unwrap();
    house.rig.set_acting(true).unwrap();
    house.desk.self_check();
    assert!(!house.rig.acting().unwrap());
    house.rig.breaks(&["acting"]);
    let Err(CommandError::Failed(said)) = house.act(true).await else {
        panic!("resumed");
    };
    assert!(said.contains("cannot be told"), "{said}");
    house.rig.breaks(&[]);
    house.rig.set_acting(true).unwrap();
    house.desk.self_check();
    assert!(!house.rig.acting().unwrap());
    // Whoever says it again is told as the kernel has it.
    house.rig.set_acting(true).unwrap();
    assert!(house.act(false).await.unwrap().stopped.is_some());
    assert!(!house.rig.acting().unwrap());
    house.rig.set_acting(true).unwrap();
    house.rig.breaks(&["switch"]);
    assert!(matches!(house.act(false).await, Err(CommandError::Failed(_))));
    house.rig.breaks(&[]);
    house.desk.self_check();
    house.all_agree().await;
}

#[tokio::test]
async fn in_simulation_a_stop_is_kept_and_nothing_is_ever_switched_on() {
    let mut house = House::open(Mode::Simulation).await;
    house.act(false).await.unwrap();
    house.act(true).await.unwrap();
    assert!(!house.rig.inside().calls.contains(&"switch true".to_owned()));
}

#[tokio::test]
async fn who_is_put_on_the_allowlist_is_free_at_once_and_its_end_is_kept() {
    let mut house = House::open(Mode::Production).await;
    for target in ["198.51.100.7/32", "198.51.100.0/24", "203.0.113.1/32"] {
        house.add(target, 600).await.unwrap();
    }
    house.rig.inside().calls.clear();
    let done = house.allow("198.51.100.7/32", Some(600)).await.unwrap();
    let ended: Vec<_> = done.ended.iter().map(|d| d.target.to_string()).collect();
    assert_eq!(ended, ["198.51.100.0/24", "198.51.100.7/32"], "what covers it, too");
    let calls = house.rig.inside().calls.clone();
    let place = |call: &str| calls.iter().position(|c| c == call).unwrap();
    assert!(
        place("allow 198.51.100.7/32") < place("delete 198.51.100.7/32"),
        "{calls:?}"
    );
    house.all_agree().await;
    let Err(CommandError::Vetoed(veto)) = house.add("198.51.100.0/28", 60).await else {
        panic!("not vetoed");
    };
    assert_eq!(veto.guard, "allowlist");
    assert!(
        veto.reason.contains("a friend (put on the allowlist by ann, until "),
        "{veto:?}"
    );

    // It is there after a restart, and goes when its time is over.
    let mut house = house.restart(Mode::Production, Clock::default(), Rig::default()).await;
    assert!(house.rig.allows().contains(&net("198.51.100.7/32")));
    assert!(house.allow("198.51.100.7/32", None).await.unwrap().changed);
    assert!(!house.allow("198.51.100.9/32", Some(60)).await.unwrap().changed);
    let end = house.desk.now().after(Duration::from_mins(1));
    house.desk.expire_allowed(Timestamp(end.0 - 59_000_000_000)).await;
    assert!(house.rig.allows().contains(&net("198.51.100.9/32")));
    house.desk.expire_allowed(end).await;
    assert!(!house.rig.allows().contains(&net("198.51.100.9/32")));
    let targets = |list: Vec<Allowed>| list.iter().map(|a| a.target.to_string()).collect::<Vec<_>>();
    assert_eq!(targets(house.store.allowlist().await.unwrap()), ["198.51.100.7/32"]);

    house.disallow("198.51.100.7/32").await.unwrap();
    assert!(!house.rig.allows().contains(&net("198.51.100.7/32")));
    house.add("198.51.100.7/32", 60).await.unwrap();
    house.all_agree().await;
    let verbs = house.verbs().await;
    for verb in ["allowlist_added", "allowlist_expired", "allowlist_removed"] {
        assert!(verbs.contains(&verb.to_owned()), "{verb}: {verbs:?}");
    }
}

#[tokio::test]
async fn what_no_command_put_there_no_command_removes_and_nonsense_is_refused() {
    let mut house = House::open(Mode::Production).await;
    house.facts(&["192.0.2.1"]).await;
    for (target, words) in [
        ("10.9.0.0/16", "key `allowlist` of the settings"),
        ("192.0.2.1/32", "guard `own_address`"),
    ] {
        let Err(CommandError::Invalid(said)) = house.disallow(target).await else {
            panic!("{target} was removed");
        };
        assert!(said.contains(words), "{said}");
    }
    assert!(matches!(
        house.disallow("192.0.2.9/32").await,
        Err(CommandError::NotFound)
    ));
    for everybody in ["0.0.0.0/0", "::/0"] {
        assert!(matches!(
            house.allow(everybody, None).await,
            Err(CommandError::Invalid(_))
        ));
    }
    assert!(matches!(
        house.allow("192.0.2.9/32", Some(0)).await,
        Err(CommandError::Invalid(_))
    ));
    house.all_agree().await;
}

#[tokio::test]
async fn an_entry_the_kernel_does_not_take_is_not_on_the_list() {
    for broken in ["allow", "allows"] {
        let mut house = House::open(Mode::Production).await;
        house.add("198.51.100.7/32", 600).await.unwrap();
        house.rig.breaks(&[broken]);
        let failed = house.allow("198.51.100.7/32", None).await;
        assert!(matches!(failed, Err(CommandError::Failed(_))), "{failed:?}");
        house.rig.breaks(&[]);
        assert_eq!(house.store.allowlist().await.unwrap(), []);
        assert!(house.desk.guards.check(net("198.51.100.7/32")).is_ok());
        house.desk.protect().await;
        house.all_agree().await;
    }
}

#[tokio::test]
async fn an_import_is_all_or_nothing_and_names_every_bad_line() {
    let mut house = House::open(Mode::Production).await;
    house.facts(&["192.0.2.1"]).await;
    let standing = house.add("203.0.113.1/32", 600).await.unwrap();
    let mixed = [
        "203.0.113.1/32",
        "10.9.1.1/32",
        "203.0.113.2/32",
        "192.0.2.0/24",
        "203.0.0.0/1",
    ];
    let Err(ImportError::Bad { lines, total }) = house.import(list(&mixed)).await else {
        panic!("not refused");
    };
    let told: Vec<_> = lines.iter().map(|l| (l.line, l.guard.as_deref().unwrap())).collect();
    assert_eq!(told, [(2, "allowlist"), (4, "own_address"), (5, "too_wide")]);
    assert_eq!((total, house.rig.blocks()), (3, vec![net("203.0.113.1/32")]));
    let skipping = Import {
        skip_bad: true,
        ..list(&mixed)
    };
    let done = house.import(skipping).await.unwrap();
    assert_eq!((done.imported, done.replaced, done.skipped), (2, 1, 3));
    let active = house.store.active_decisions().await.unwrap();
    assert_eq!(active.len(), 2);
    assert_eq!(
        active.iter().find(|d| d.target == net("203.0.113.1/32")).unwrap().id,
        standing.id
    );
    house.all_agree().await;
    let repeated = house.import(list(&["203.0.113.7/32", "203.0.113.7/32"])).await.unwrap();
    assert_eq!((repeated.imported, repeated.repeated), (1, 1));
    assert!(matches!(
        house.import(list(&[])).await,
        Err(ImportError::Command(CommandError::Invalid(_)))
    ));
    let verbs = house.verbs().await;
    assert_eq!(
        verbs.iter().filter(|v| *v == "imported").count(),
        2,
        "one line each: {verbs:?}"
    );
    house.all_agree().await;
}

#[tokio::test]
async fn an_import_that_does_not_fit_is_refused_before_anything_is_written() {
    let mut house = House::open(Mode::Production).await;
    house.rig.inside().gate = crate::replay::ModelGate::new(3, 3, true);
    house.add("203.0.113.1/32", 600).await.unwrap();
    let four = ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32", "203.0.113.4/32"];
    let Err(ImportError::Command(CommandError::Failed(said))) = house.import(list(&four)).await else {
        panic!("not refused");
    };
    assert!(said.contains("3 new entries") && said.contains("room for 2"), "{said}");
    assert_eq!(house.rig.blocks(), [net("203.0.113.1/32")]);
    assert_eq!(house.store.active_decisions().await.unwrap().len(), 1);
    house.import(list(&four[..3])).await.unwrap();
}

#[tokio::test]
async fn killed_in_the_middle_of_an_import_all_of_it_is_in_force_after_the_restart() {
    let mut house = House::open(Mode::Production).await;
    let (reply, _answer) = oneshot::channel();
    let import = list(&["203.0.113.1/32", "203.0.113.2/32"]);
    house.desk.command(Command::Import(import, reply)).await;
    // Stored, and nothing of it carried out yet.
    house.desk.imports.ready().await;
    assert_eq!(house.rig.blocks(), []);
    let mut house = house.restart(Mode::Production, Clock::default(), Rig::default()).await;
    assert_eq!(house.rig.blocks().len(), 2);
    house.all_agree().await;
}

#[tokio::test]
async fn everything_taken_back_ends_an_import_under_way() {
    let mut house = House::open(Mode::Production).await;
    house.add("203.0.113.9/32", 600).await.unwrap();
    let answer = house.begin(list(&["203.0.113.1/32", "203.0.113.9/32"])).await;
    house.take_back(Selector::All, true).await.unwrap();
    house.desk.imports.ready().await;
    house.desk.import_part().await;
    assert!(matches!(
        answer.await.unwrap(),
        Err(ImportError::Command(CommandError::Failed(_)))
    ));
    assert_eq!(house.rig.blocks(), []);
    assert_eq!(house.store.active_decisions().await.unwrap(), []);
    house.all_agree().await;
}

#[tokio::test]
async fn what_a_prefix_still_covers_is_not_told_as_free() {
    let mut house = House::open(Mode::Production).await;
    let wide = house.add("203.0.113.0/24", 600).await.unwrap();
    house.add("203.0.113.7/32", 600).await.unwrap();
    let delete = async |house: &mut House, target: &str| {
        let (reply, answer) = oneshot::channel();
        let command = Command::Delete {
            which: Selector::Target(net(target)),
            forget: true,
            actor: "ann".into(),
            reply,
        };
        house.desk.command(command).await;
        answer.await.unwrap()
    };
    let told = delete(&mut house, "203.0.113.7/32").await.unwrap();
    assert_eq!((told.decisions.len(), told.covering), (1, vec![wide]));
    let Err(error @ CommandError::Covered { .. }) = delete(&mut house, "203.0.113.7/32").await else {
        panic!("told as free");
    };
    assert!(
        error.to_string().contains("in force around it: 203.0.113.0/24;"),
        "{error}"
    );
    assert_eq!(delete(&mut house, "203.0.113.0/24").await.unwrap().covering, Vec::new());
    assert!(matches!(
        delete(&mut house, "203.0.113.7/32").await,
        Err(CommandError::NotFound)
    ));
}

#[tokio::test]
async fn a_start_says_what_it_is_configured_as_and_what_changed() {
    let mut house = House::open(Mode::Production).await;
    let mut config = Config::default();
    house.desk.note_settings(&config, None).await;
    let kept = house.store.settings().await.unwrap();
    house.desk.note_settings(&config, kept.clone()).await;
    config.mode = Mode::Production;
    config.response.duration = Duration::from_mins(7);
    house.desk.note_settings(&config, kept).await;
    let page = house.store.audit(crate::store::AuditFilter::default()).await.unwrap();
    let told: Vec<_> = page
        .items
        .iter()
        .rev()
        .map(|e| (e.verb.as_str(), e.detail.as_str()))
        .collect();
    assert!(
        told[0].0 == "started" && told[0].1.ends_with("the first start on this database"),
        "{told:?}"
    );
    assert!(told[1].1.ends_with("as at the start before"), "{told:?}");
    assert!(told[2].1.ends_with("3 keys differ from the start before"), "{told:?}");
    assert!(
        told.contains(&("mode_changed", "mode: simulation → production")),
        "{told:?}"
    );
    assert!(
        told.contains(&("setting_changed", "response.duration: 4h → 7m")),
        "{told:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Against a model: a map of targets. Whatever fails on the way, an import is there as a whole or not at all, and what
    /// stood before it is there or was replaced by it.
    #[test]
    fn an_import_matches_a_model_whatever_fails(
        standing in proptest::collection::btree_set(0u8..12, 0..6),
        wanted in proptest::collection::vec(0u8..14, 1..10),
        fail_at in proptest::option::of(0u64..40),
        skip_bad in any::<bool>(),
    ) {
        // 12 and 13 are protected.
        let name = |n: u8| if n < 12 { format!("203.0.113.{n}/32") } else { format!("10.9.0.{n}/32") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut house = House::open(Mode::Production).await;
            for n in &standing {
                house.add(&name(*n), 600).await.unwrap();
            }
            let before: BTreeSet<_> = house.rig.blocks().into_iter().collect();
            let targets: Vec<String> = wanted.iter().map(|n| name(*n)).collect();
            let names: Vec<&str> = targets.iter().map(String::as_str).collect();
            let import = Import { skip_bad, ..list(&names) };
            house.rig.inside().fail_at = fail_at;
            let told = house.import(import).await;
            house.rig.inside().fail_at = None;
            house.desk.look_around().await;
            let good: BTreeSet<_> =
                wanted.iter().filter(|n| **n < 12).map(|n| net(&name(*n))).collect();
            let after: BTreeSet<_> = house.rig.blocks().into_iter().collect();
            match told {
                Ok(done) => {
                    assert!(good.len() == wanted.iter().collect::<BTreeSet<_>>().len() || skip_bad);
                    assert_eq!(done.imported, good.len() as u64);
                    assert_eq!(after, before.union(&good).copied().collect());
                }
                // What comes back may be the very thing that fails a second time; nothing new stays.
                Err(_) => assert!(after.is_subset(&before), "{after:?} beside {before:?}"),
            }
            house.all_agree().await;
            house.close();
        });
    }
}

#[tokio::test]
async fn a_reload_says_each_time_whom_the_kernel_does_not_spare_and_whom_it_let_go() {
    let mut house = House::open(Mode::Production).await;
    let ended = house.add("198.51.100.7/32", 60).await.unwrap();
    let config = Arc::new(Config {
        allowlist: vec![net("10.9.0.0/16"), net("198.51.100.0/24")],
        ..Config::default()
    });
    let reload = async |house: &mut House| {
        let (taken, answer) = oneshot::channel();
        let settings = NewSettings {
            config: Arc::clone(&config),
            changes: Vec::new(),
            actor: "ann".into(),
        };
        house.desk.renew(Renewal { settings, taken }).await;
        answer.await.unwrap().unwrap()
    };
    house.rig.breaks(&["allow"]);
    let first = reload(&mut house).await;
    let released: Vec<_> = first.released.iter().map(|one| one.decision).collect();
    assert_eq!(released, [ended.id]);
    assert!(
        first.missing.len() == 1 && first.missing[0].starts_with("198.51.100.0/24 "),
        "{first:?}"
    );
    let second = reload(&mut house).await;
    assert_eq!((second.missing, second.released.len()), (first.missing, 0));
    house.rig.breaks(&[]);
    assert_eq!(reload(&mut house).await, Renewed::default());
}
