//! Provisional decisions: the kernel's end, verdicts, stops, faults and restarts.

use super::*;
use crate::store::AuditFilter;
use crate::types::{Provisional, Verdict};

const RANGE: &str = "198.51.100.0/24";
/// As configured by default.
const WINDOW: u64 = 30;

impl House {
    /// What whoever probes is told.
    fn provisional(&self) -> Vec<Provisional> {
        Vec::clone(&self.desk.deps.provisional.borrow())
    }

    async fn say(&mut self, outcome: Result<&str, &str>) {
        let one = self.provisional()[0];
        let verdict = Verdict {
            decision: one.decision,
            ends: one.ends,
            outcome: outcome.map(str::to_owned).map_err(str::to_owned),
        };
        self.desk.verdict(verdict).await;
    }

    async fn confirm(&mut self, id: DecisionId) -> Result<Decision, CommandError> {
        let (reply, answer) = oneshot::channel();
        let actor = "ann".to_owned();
        self.desk.command(Command::Confirm { id, actor, reply }).await;
        answer.await.unwrap()
    }

    /// The kernel's end of the range.
    fn end(&self) -> Timestamp {
        self.desk
            .deps
            .clock
            .wall(crate::types::Ktime(self.rig.entry(RANGE).unwrap().expires_ns))
    }

    async fn told(&self, id: DecisionId) -> Decision {
        self.store.decision(id).await.unwrap().unwrap()
    }

    async fn of_the_range(&self) -> Vec<(String, String, String)> {
        let lines = self.store.audit(AuditFilter::default()).await.unwrap().items;
        let of_range = lines.into_iter().filter(|line| line.subject == RANGE);
        of_range.map(|line| (line.verb, line.actor, line.detail)).collect()
    }

    fn counted(&self, result: &str) -> bool {
        let line = format!("sentinel_confirmations_total{{result=\"{result}\"}} 1");
        self.desk.deps.metrics.encode().unwrap().contains(&line)
    }
}

#[tokio::test]
async fn the_kernel_has_the_window_until_the_probe_passes_and_then_the_full_end() {
    let mut house = House::open(Mode::Production).await;
    let decision = house.add(RANGE, 3600).await.unwrap();
    let full = decision.until_if_confirmed.expect("provisional");
    assert_eq!(full, decision.at.after(Duration::from_hours(1)));
    assert_eq!(house.end(), decision.expires_at.unwrap());
    assert_eq!(house.end(), decision.at.after(Duration::from_secs(WINDOW)));
    let told = house.told(decision.id).await;
    assert!(told.until_if_confirmed.is_some(), "durable");
    let action = house
        .store
        .actions(ActionFilter::default())
        .await
        .unwrap()
        .items
        .remove(0);
    assert!(action.outcome.contains("provisional: over at"), "{}", action.outcome);
    let one = house.provisional()[0];
    assert_eq!((one.decision, one.target), (decision.id, net(RANGE)));

    house.say(Ok("3 probes answer")).await;
    assert_eq!(house.end(), full);
    assert_eq!(house.provisional(), []);
    let told = house.told(decision.id).await;
    assert_eq!((told.status, told.until_if_confirmed), (DecisionStatus::Active, None));
    let verbs = house.of_the_range().await;
    let confirmed = verbs.iter().find(|(verb, ..)| verb == "confirmed").expect("audited");
    assert_eq!(confirmed.1, "sentinel");
    assert!(confirmed.2.ends_with("3 probes answer"), "{confirmed:?}");
    assert!(house.counted("confirmed"));
    let action = house
        .store
        .actions(ActionFilter::default())
        .await
        .unwrap()
        .items
        .remove(0);
    assert!(!action.outcome.contains("provisional"), "{}", action.outcome);
    house.all_agree().await;
}

#[tokio::test]
async fn what_a_probe_speaks_against_is_gone_at_once_and_it_is_told_why() {
    let mut house = House::open(Mode::Production).await;
    let decision = house.add(RANGE, 3600).await.unwrap();
    let old = house.provisional()[0];
    house.say(Err("tcp://192.0.2.7:22 does not answer any more")).await;
    assert!(house.rig.entry(RANGE).is_none());
    assert_eq!(house.provisional(), []);
    let told = house.told(decision.id).await;
    assert_eq!(told.status, DecisionStatus::RolledBack);
    let veto = told.veto.expect("why");
    assert_eq!(veto.guard, "health_probe");
    assert!(veto.reason.contains("192.0.2.7:22"), "{veto:?}");
    let action = house
        .store
        .actions(ActionFilter::default())
        .await
        .unwrap()
        .items
        .remove(0);
    assert_eq!(action.status, ActionStatus::Reverted);
    assert!(
        action.outcome.contains("192.0.2.7:22") && action.outcome.contains("read back"),
        "{}",
        action.outcome
    );
    let verbs = house.of_the_range().await;
    assert!(
        verbs
            .iter()
            .any(|(verb, _, detail)| verb == "rolled_back" && detail.contains("192.0.2.7:22")),
        "{verbs:?}"
    );
    assert!(house.counted("rolled_back"));
    house.all_agree().await;
    // A word that comes late is about nothing.
    let late = Verdict {
        decision: old.decision,
        ends: old.ends,
        outcome: Ok("late".into()),
    };
    house.desk.verdict(late).await;
    assert!(house.rig.entry(RANGE).is_none());
}

#[tokio::test]
async fn a_person_confirms_and_only_what_needs_it() {
    let mut house = House::open(Mode::Production).await;
    let decision = house.add(RANGE, 3600).await.unwrap();
    let confirmed = house.confirm(decision.id).await.unwrap();
    assert_eq!(Some(house.end()), decision.until_if_confirmed);
    assert_eq!(confirmed.checks.last().unwrap().reason, "confirmed by ann");
    assert!(house.counted("by_hand"));
    let verbs = house.of_the_range().await;
    assert!(
        verbs
            .iter()
            .any(|(verb, actor, _)| verb == "confirmed" && actor == "ann"),
        "{verbs:?}"
    );
    assert!(matches!(
        house.confirm(decision.id).await,
        Err(CommandError::Invalid(_))
    ));
    let host = house.add("203.0.113.1/32", 60).await.unwrap();
    assert!(matches!(house.confirm(host.id).await, Err(CommandError::Invalid(_))));
    let nobody = Mint::Random.decision(decision.at);
    assert!(matches!(house.confirm(nobody).await, Err(CommandError::NotFound)));
    house.all_agree().await;
}

#[tokio::test]
async fn a_confirmation_that_fails_leaves_nothing_in_force() {
    let mut house = House::open(Mode::Production).await;
    let decision = house.add(RANGE, 3600).await.unwrap();
    house.rig.breaks(&["put"]);
    house.say(Ok("all is well")).await;
    house.rig.breaks(&[]);
    assert!(house.rig.entry(RANGE).is_none());
    assert_eq!(house.told(decision.id).await.status, DecisionStatus::Failed);
    assert_eq!(house.provisional(), []);
    house.all_agree().await;
}

#[tokio::test]
async fn a_stop_rolls_back_what_nobody_can_judge_under_it() {
    let mut house = House::open(Mode::Production).await;
    let decision = house.add(RANGE, 3600).await.unwrap();
    let (reply, answer) = oneshot::channel();
    let stop = Command::Act {
        on: false,
        actor: "ann".into(),
        reason: "a drill".into(),
        reply,
    };
    house.desk.command(stop).await;
    answer.await.unwrap().unwrap();
    assert!(matches!(
        house.confirm(decision.id).await,
        Err(CommandError::Invalid(_))
    ));
    house.desk.tick().await;
    let told = house.told(decision.id).await;
    assert_eq!(told.status, DecisionStatus::RolledBack);
    assert!(told.veto.unwrap().reason.contains("stopped"));
    assert!(house.rig.entry(RANGE).is_none());
    // What only counts drops nothing, and is whole.
    let simulated = house.add(RANGE, 3600).await.unwrap();
    assert!(simulated.simulated && simulated.until_if_confirmed.is_none());
    house.all_agree().await;
}

#[tokio::test]
async fn after_a_restart_the_rest_of_the_window_goes_on_or_it_is_told_as_rolled_back() {
    let mut house = House::open(Mode::Production).await;
    let decision = house.add(RANGE, 3600).await.unwrap();
    let mut house = house.restart(Mode::Production, Clock::default(), Rig::default()).await;
    house.desk.tick().await;
    let one = house.provisional()[0];
    assert_eq!(one.decision, decision.id);
    // Times are kept to the microsecond.
    assert!(one.ends <= decision.expires_at.unwrap());
    assert_eq!(house.end(), one.ends);
    house.all_agree().await;

    let later = Clock {
        offset_ns: (WINDOW as i64 + 1) * 1_000_000_000,
    };
    let mut house = house.restart(Mode::Production, later, Rig::default()).await;
    assert!(house.rig.entry(RANGE).is_none(), "nor on probation");
    let told = house.told(decision.id).await;
    assert_eq!(told.status, DecisionStatus::RolledBack);
    let action = house
        .store
        .actions(ActionFilter::default())
        .await
        .unwrap()
        .items
        .remove(0);
    assert_eq!(action.status, ActionStatus::Reverted);
    house.all_agree().await;
}

#[tokio::test]
async fn what_only_counts_after_a_restart_is_confirmed_without_a_probe() {
    let mut house = House::open(Mode::Production).await;
    let decision = house.add(RANGE, 3600).await.unwrap();
    let mut house = house.restart(Mode::Simulation, Clock::default(), Rig::default()).await;
    house.desk.tick().await;
    let told = house.told(decision.id).await;
    assert!(told.simulated && told.until_if_confirmed.is_none());
    assert!(told.expires_at > decision.expires_at);
    assert_eq!(house.provisional(), []);
    house.all_agree().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is said, whatever the kernel refuses: the kernel never has an end beyond the window of what was not
    /// confirmed, and books, database and kernel agree.
    #[test]
    fn the_kernel_never_goes_beyond_the_window_unconfirmed(
        steps in proptest::collection::vec((0u8..6, any::<bool>()), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut house = House::open(Mode::Production).await;
            for (step, broken) in steps {
                if broken {
                    house.rig.breaks(&["put"]);
                }
                let open = !house.provisional().is_empty();
                match step {
                    0 | 1 => drop(house.add(RANGE, 3600).await),
                    2 if open => house.say(Ok("well")).await,
                    3 if open => house.say(Err("ill")).await,
                    4 => drop(house.delete(Selector::All).await),
                    _ => house.desk.tick().await,
                }
                house.rig.breaks(&[]);
                let now = house.desk.now();
                for d in house.desk.judge.active().filter(|d| d.until_if_confirmed.is_some()) {
                    let entry = house.rig.entry(RANGE).expect("in the kernel");
                    let end = house.desk.deps.clock.wall(crate::types::Ktime(entry.expires_ns));
                    assert!(end <= now.after(Duration::from_secs(WINDOW)));
                    assert_eq!(Some(end), d.expires_at);
                }
                house.desk.tick().await;
                let told = house.provisional();
                let open: Vec<_> = house.desk.judge.provisional().map(|d| d.id).collect();
                assert_eq!(told.iter().map(|p| p.decision).collect::<Vec<_>>(), open);
            }
            house.all_agree().await;
        });
    }
}
