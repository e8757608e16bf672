use super::*;
use crate::config::{Mode, Place};
use crate::types::renewals;
use std::sync::Mutex;
use tokio::sync::oneshot;

/// A house of one desk and one other room that take settings up, and the files they come from.
struct House {
    files: Arc<Mutex<Result<Config, Vec<Problem>>>>,
    wishes: mpsc::Sender<ReloadWish>,
    told: watch::Receiver<Option<Arc<InForce>>>,
    health: watch::Receiver<Arc<Health>>,
    seen: Arc<Mutex<Vec<&'static str>>>,
}

impl House {
    fn new(obliging: bool) -> Self {
        let files = Arc::new(Mutex::new(Ok(Config::default())));
        let read = Arc::clone(&files);
        let (desk, mut to_desk) = renewals();
        let (other, mut to_other) = renewals::<Arc<Config>, ()>();
        let (told_tx, told) = watch::channel(None);
        let (health_tx, health) = watch::channel(Arc::default());
        let (wishes, asked) = mpsc::channel(4);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (first, second, third) = (Arc::clone(&seen), Arc::clone(&seen), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let renewal = to_desk.next().await;
                first.lock().expect("whole").push("desk");
                let _ = renewal.taken.send(Ok(Renewed::default()));
            }
        });
        tokio::spawn(async move {
            loop {
                let renewal = to_other.next().await;
                second.lock().expect("whole").push("other");
                let taken = if obliging {
                    Ok(())
                } else {
                    Err("it does not want to".to_owned())
                };
                let _ = renewal.taken.send(taken);
            }
        });
        let room = Reloading {
            read: Arc::new(Box::new(move || {
                read.lock()
                    .expect("whole")
                    .clone()
                    .map(|config| (config, Origins::default()))
            })),
            now: InForce::default(),
            told: told_tx,
            desk,
            parts: vec![Part::new("other", other, Arc::clone)],
            tell: Box::new(move |_| third.lock().expect("whole").push("told")),
            fits: Arc::new(|_| true),
            around: Box::new(|_| ()),
            health: health_tx,
        };
        tokio::spawn(room.run(asked, CancellationToken::new()));
        Self {
            files,
            wishes,
            told,
            health,
            seen,
        }
    }

    async fn reload(&self, files: Result<Config, Vec<Problem>>) -> Result<Reloaded, ReloadError> {
        *self.files.lock().expect("whole") = files;
        self.seen.lock().expect("whole").clear();
        let (reply, answer) = oneshot::channel();
        let actor = "test".to_owned();
        self.wishes.send(ReloadWish { actor, reply }).await.expect("heard");
        answer.await.expect("answered")
    }

    fn condition(&self) -> Condition {
        self.health.borrow().components[&Component::Settings].clone()
    }
}

fn changed() -> Config {
    Config {
        mode: Mode::Production,
        allowlist: vec!["192.0.2.0/24".parse().expect("a prefix")],
        ..Config::default()
    }
}

#[tokio::test]
async fn the_desk_is_first_and_what_cannot_be_taken_up_is_said_until_it_is_taken_back() {
    let house = House::new(true);
    let done = house.reload(Ok(changed())).await.expect("reloaded");
    assert_eq!(*house.seen.lock().expect("whole"), ["desk", "told", "other"]);
    let keys = |changes: &[KeyChange]| changes.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&done.applied), ["allowlist"]);
    assert_eq!(keys(&done.restart), ["enable_production_actions", "mode"]);
    let held = house.told.borrow().clone().expect("told");
    assert_eq!((held.config.mode, held.config.allowlist.len()), (Mode::Simulation, 1));
    assert_eq!(held.pending, done.restart);
    let Condition::Degraded { cause, .. } = house.condition() else {
        panic!("it is said")
    };
    assert_eq!(
        cause,
        "restart pending: enable_production_actions, mode changed and hold from the next start on"
    );
    let again = house.reload(Ok(changed())).await.expect("reloaded");
    assert_eq!((again.applied, again.restart), (Vec::new(), done.restart));
    assert!(
        house.seen.lock().expect("whole").is_empty(),
        "nothing is handed over twice"
    );
    house.reload(Ok(Config::default())).await.expect("reloaded");
    assert!(matches!(house.condition(), Condition::Ok { .. }));
}

#[tokio::test]
async fn one_problem_and_nothing_changes() {
    let house = House::new(true);
    house.reload(Ok(changed())).await.expect("reloaded");
    let before = house.told.borrow().clone().expect("told").config.clone();
    let problem = |key: &str| Problem {
        place: Place::Line {
            file: "settings.yml".into(),
            line: 3,
            column: 1,
        },
        key: key.to_owned(),
        message: "is wrong".to_owned(),
        mend: "mend it".to_owned(),
    };
    let refused = house.reload(Err(vec![problem("mode"), problem("allowlist")])).await;
    let text = refused.expect_err("refused").to_string();
    assert_eq!(text.matches("settings.yml:3:1").count(), 2, "{text}");
    assert!(
        text.ends_with("nothing was changed: the settings have 2 problems"),
        "{text}"
    );
    assert!(house.seen.lock().expect("whole").is_empty());
    assert_eq!(house.told.borrow().clone().expect("told").config, before);
}

#[tokio::test]
async fn a_part_that_does_not_take_them_is_named() {
    let house = House::new(false);
    let done = house.reload(Ok(changed())).await.expect("reloaded");
    assert_eq!(done.failed, ["other: it does not want to"]);
    let Condition::Degraded { cause, .. } = house.condition() else {
        panic!("it is said")
    };
    assert!(cause.contains("it does not want to"), "{cause}");
    let again = house.reload(Ok(changed())).await.expect("reloaded");
    assert_eq!(again.failed.len(), 1, "it is asked again");
}
