//! How a ban ends: once, and told as it was.

use super::*;

#[tokio::test]
async fn a_ban_of_ours_in_the_list_of_somebody_else_stays_ours_to_lift() {
    let mut rig = Rig::new();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    let stage = |rig: &Rig, running: bool, targets: &str| {
        rig.server
            .with(|stage| (stage.running, stage.targets) = (running, targets.to_owned()));
        rig.server.told();
    };
    for theirs in ["192.0.2.7,192.0.2.99", "192.0.2.0/24"] {
        stage(&rig, true, theirs);
        rig.pass().await;
        let (status, outcome) = rig.only().await;
        assert_eq!(status, ActionStatus::Enforced, "it is a target: {outcome}");
        assert!(outcome.contains("not ours alone"), "{outcome}");
        assert!(rig.cause().contains("not ours alone"), "{}", rig.cause());
    }
    // Over, and still a target of theirs: looked at until it is none.
    rig.want(&[]);
    rig.pass().await;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Enforced);
    assert!(
        outcome.contains("over, and not lifted yet") && outcome.contains("not ours alone"),
        "{outcome}"
    );
    assert!(rig.due());
    assert_eq!(rig.server.told(), Vec::<String>::new(), "theirs is left alone");
    let mut rig = rig.again().await;
    stage(&rig, false, "192.0.2.7,192.0.2.99");
    rig.pass().await;
    assert_eq!(rig.server.told(), [ON[0], ON[1], OFF[0], OFF[1]]);
    assert_eq!(rig.only().await.0, ActionStatus::Reverted);
    assert!(!rig.due());
}

#[tokio::test]
async fn who_is_none_of_the_targets_of_somebody_else_is_let_go() {
    let mut rig = Rig::new();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    rig.server.told();
    rig.server.with(|stage| stage.targets = "192.0.2.99".to_owned());
    rig.want(&[]);
    rig.pass().await;
    assert_eq!(rig.server.told(), Vec::<String>::new());
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Reverted);
    assert!(outcome.contains("none of its targets"), "{outcome}");
}

#[tokio::test]
async fn who_could_not_be_told_is_not_said_to_have_been() {
    type Change = fn(&mut Rig);
    let goes_on = |rig: &mut Rig| {
        rig.server
            .with(|stage| (stage.running, stage.targets) = (true, "192.0.2.7".to_owned()));
    };
    // What is wrong, the words for it, and whether it is made a target again.
    let cases: [(Change, &str, bool); 6] = [
        (|rig| rig.server.with(|s| s.gateway.clear()), "knows no gateway", false),
        (
            |rig| std::fs::write(rig.dir.path().join("ipv4/ip_forward"), "1\n").unwrap(),
            "is a router now",
            false,
        ),
        (|rig| rig.server.with(|s| s.hosts.clear()), "no MAC", true),
        (
            |rig| {
                let mut all = rig.protected.borrow().to_vec();
                all[0].target = "192.0.2.0/28".parse().unwrap();
                rig.protected.send_replace(Arc::new(all));
            },
            "it is protected now",
            false,
        ),
        // Not killed: off it goes, to whom that reaches.
        (goes_on, "", false),
        (
            |rig| {
                rig.server.with(|s| {
                    (s.running, s.targets) = (true, "192.0.2.7".to_owned());
                    s.hosts.clear();
                });
            },
            "no MAC",
            false,
        ),
    ];
    for (change, why, again) in cases {
        let mut rig = Rig::new();
        rig.want(&[(decision(), "192.0.2.7", false)]);
        rig.pass().await;
        rig.server
            .with(|stage| (stage.running, stage.targets) = (false, SUBNET.to_owned()));
        change(&mut rig);
        rig.server.told();
        rig.want(&[]);
        rig.pass().await;
        let told = rig.server.told();
        let (status, outcome) = rig.only().await;
        assert_eq!(status, ActionStatus::Reverted, "{outcome}");
        if why.is_empty() {
            assert!(outcome.contains("and was told the gateway's own"), "{outcome}");
        } else {
            assert!(
                outcome.contains("but was not told") && outcome.contains(why),
                "{outcome}"
            );
            assert!(!outcome.contains("and was told"), "{outcome}");
        }
        assert_eq!(told.iter().any(|said| said == "arp.ban on"), again, "{why}: {told:?}");
    }
}

#[tokio::test]
async fn nobody_is_lifted_twice_because_the_disk_is_broken() {
    let mut rig = Rig::new();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    rig.server.with(|stage| stage.running = false);
    rig.server.told();
    // How the decision ended cannot be read.
    let path = rig.dir.path().join("sentinel.db");
    let sql = |text: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(text).unwrap();
    sql("ALTER TABLE decisions RENAME TO elsewhere");
    rig.want(&[]);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        rig.pass().await;
        pauses.push(rig.room.as_ref().unwrap().due.unwrap() - Instant::now());
    }
    assert_eq!(rig.server.told(), [ON[0], ON[1], OFF[0], OFF[1]], "once");
    assert!(pauses[3] > pauses[0] * 4, "{pauses:?}");
    assert!(rig.cause().contains("not on disk yet"), "{}", rig.cause());
    sql("ALTER TABLE elsewhere RENAME TO decisions");
    rig.pass().await;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Reverted);
    assert!(outcome.contains("and was told the gateway's own"), "{outcome}");
    assert!(!rig.due());
    assert_eq!(rig.server.told(), Vec::<String>::new());
}

#[tokio::test]
async fn nobody_is_told_the_truth_twice_because_what_follows_fails() {
    let mut rig = Rig::new();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    rig.want(&[]);
    // It stops, and does not put back its targets.
    rig.server.with(|stage| stage.mood = Mood::Dies(2));
    rig.server.told();
    rig.pass().await;
    assert_eq!(rig.server.told(), OFF);
    rig.server.with(|stage| {
        stage.mood = Mood::Good;
        stage.targets = "192.0.2.7".to_owned();
    });
    rig.pass().await;
    assert_eq!(rig.server.told(), [OFF[1]], "nobody is made a target again for it");
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Reverted);
    assert!(outcome.contains("and was told the gateway's own"), "{outcome}");
}

#[tokio::test]
async fn what_a_bettercap_that_ended_did_is_not_told_as_standing() {
    let mut rig = Rig::new();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    let active = |rig: &Rig, count: u32| {
        let text = rig.metrics.encode().unwrap();
        assert!(text.contains(&format!("sentinel_arp_bans_active {count}")), "{text}");
    };
    active(&rig, 1);
    // Its process is gone: nobody listens there.
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let session = |at| Session::new(&config(format!("ws://{at}"), "hunter2")).unwrap();
    let there = std::mem::replace(&mut rig.room.as_mut().unwrap().session, session(nobody));
    rig.pass().await;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Intent);
    assert!(
        outcome.contains("banned no more") && outcome.contains("no connection"),
        "{outcome}"
    );
    active(&rig, 0);
    // It is started again, and has not heard of the neighbour yet.
    rig.room.as_mut().unwrap().session = there;
    let fresh = |rig: &Rig, known: bool| {
        rig.server.with(|stage| {
            (stage.running, stage.targets) = (false, SUBNET.to_owned());
            stage.hosts = if known {
                vec!["192.0.2.7".to_owned()]
            } else {
                Vec::new()
            };
        });
    };
    fresh(&rig, true);
    rig.pass().await;
    assert_eq!(rig.only().await.0, ActionStatus::Enforced);
    fresh(&rig, false);
    rig.pass().await;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Intent);
    assert!(outcome.contains("knows no MAC"), "{outcome}");
    active(&rig, 0);
}

#[tokio::test]
async fn what_cannot_be_reached_from_here_is_not_told_as_ended() {
    let mut rig = Rig::new();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    // This host's kernel refuses to connect there, as where no descriptor is left; Bettercap goes on.
    let unreached = Session::new(&config("ws://255.255.255.255:1".to_owned(), "hunter2")).unwrap();
    rig.room.as_mut().unwrap().session = unreached;
    rig.pass().await;
    let (status, outcome) = rig.only().await;
    assert_eq!(status, ActionStatus::Enforced, "{outcome}");
    let cause = rig.cause();
    assert!(cause.contains("could not be reached from here"), "{cause}");
    let text = rig.metrics.encode().unwrap();
    assert!(text.contains("sentinel_arp_bans_active 1"), "{text}");
}

#[tokio::test]
async fn a_room_with_nothing_left_to_lift_waits_to_be_ended() {
    let mut rig = Rig::new();
    rig.want(&[(decision(), "192.0.2.7", false)]);
    rig.pass().await;
    let mut rig = rig.again().await;
    // `arp_ban: false` now: nobody says what is wanted.
    rig.wanted = watch::channel(Arc::default()).0;
    let cancel = CancellationToken::new();
    let mut running = tokio::spawn(rig.room.take().unwrap().run(cancel.clone()));
    for _ in 0..6_000 {
        if rig.only().await.0 == ActionStatus::Reverted {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.only().await.0, ActionStatus::Reverted);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut running).await;
    assert!(early.is_err(), "it ended on its own");
    cancel.cancel();
    running.await.unwrap();
}
