//! Words, whom they convince, and what comes of them when nodes are apart.

mod redis;

use super::accept;
use super::clocks::Clocks;
use super::share::Teller;
use super::word::{Deaf, Decided, LONGEST, Said, Signer, What, clean, read};
use crate::config::{Config, FleetConfig, Mode};
use crate::decide::{Followed, Guards, Judge};
use crate::types::{
    ActionKind, Allowed, Decision, DecisionId, DecisionStatus, FleetChange, FleetDecision, FleetLocal, FleetOrder,
    FleetStanding, FleetWord, Mint, NewDecision, Origin, Rate, Secret, Selector, Severity, Timestamp,
};
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);

fn at(second: i64) -> Timestamp {
    Timestamp((1_800_000_000 + second) * 1_000_000_000)
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn signer() -> Signer {
    Signer::new(&Secret::new("0123456789abcdef0123456789abcdef")).unwrap()
}

fn decided() -> Decided {
    Decided {
        id: Mint::Counted(0).decision(at(0)),
        target: net("198.51.100.7/32"),
        action: ActionKind::BlockIp,
        rate: None,
        egress: false,
        until: at(3600),
        by: Origin::Detector,
        actor: "port_scan".to_owned(),
        reason: "400 ports".to_owned(),
        severity: Some(Severity::High),
        risk: Some(Severity::High),
        confidence: 0.8,
    }
}

fn said(what: What) -> Said {
    Said::new("one", at(1).0, what, None)
}

fn wish(target: IpNet, duration: Duration) -> NewDecision {
    NewDecision {
        target,
        action: ActionKind::BlockIp,
        rate: None,
        egress: None,
        duration,
        collateral: Some(1000),
        reason: "test".to_owned(),
        actor: "joe".to_owned(),
    }
}

#[test]
fn what_is_signed_is_heard_and_nothing_else() {
    let signer = signer();
    let word = signer.word(&said(What::Decided(decided())), at(2));
    let (heard, again) = signer.hear(&word.body, &word.mac, at(3), at(3)).unwrap();
    assert_eq!(heard, said(What::Decided(decided())));
    assert_eq!((&again.subject, &again.version), (&word.subject, &word.version));
    assert_eq!(word.subject, "d198.51.100.7/32");

    let hear = |body: &str, mac: &str| signer.hear(body, mac, at(3), at(3)).map(drop);
    let mut flipped = word.body.clone().into_bytes();
    for at in 0..flipped.len() {
        flipped[at] ^= 1;
        let body = String::from_utf8_lossy(&flipped).into_owned();
        assert_eq!(hear(&body, &word.mac), Err(Deaf::Unsigned), "byte {at}");
        flipped[at] ^= 1;
    }
    for cut in 0..word.body.len() {
        assert_eq!(hear(&word.body[..cut], &word.mac), Err(Deaf::Unsigned));
    }
    for mac in [
        "",
        "00",
        &"0".repeat(64),
        &"é".repeat(32),
        &word.mac.to_uppercase()[..63],
    ] {
        assert_eq!(hear(&word.body, mac), Err(Deaf::Unsigned), "{mac}");
    }
    let other = Signer::new(&Secret::new("0123456789abcdef0123456789abcdeF")).unwrap();
    assert_eq!(hear(&word.body, &other.sign(&word.body)), Err(Deaf::Unsigned));
    let long = format!("{}{}", word.body, " ".repeat(LONGEST));
    assert_eq!(hear(&long, &signer.sign(&long)), Err(Deaf::Unsigned));
    assert!(!format!("{signer:?}").contains("0123"));
}

#[test]
fn what_is_signed_and_makes_no_sense_is_refused_by_name() {
    let signer = signer();
    let good = signer.word(&said(What::Decided(decided())), at(2)).body;
    for (from, to, why) in [
        ("\"form\":1", "\"form\":2", Deaf::Newer),
        ("\"form\":1,", "", Deaf::Malformed),
        ("\"one\"", "\"\"", Deaf::Malformed),
        ("\"one\"", "\"o\\u001b[1mne\"", Deaf::Malformed),
        ("\"kind\":\"decided\"", "\"kind\":\"hug\"", Deaf::Malformed),
        ("198.51.100.7/32", "everybody", Deaf::Malformed),
        ("\"confidence\":0.8", "\"confidence\":1.5", Deaf::Malformed),
        ("\"version\":1", "\"version\":-1", Deaf::Malformed),
    ] {
        let body = good.replacen(from, to, 1);
        assert_ne!(body, good, "{from}");
        let heard = signer.hear(&body, &signer.sign(&body), at(3), at(3));
        assert_eq!(heard.map(drop), Err(why), "{to}");
    }
    let mut early = said(What::Decided(decided()));
    early.version = at(3 + 601).0;
    let early = signer.word(&early, at(2));
    assert_eq!(
        signer.hear(&early.body, &early.mac, at(3), at(3)).map(drop),
        Err(Deaf::Ahead)
    );
    assert_eq!(clean("a\u{202e}b\u{1b}[1mc\n"), "ab[1mc");
    assert_eq!(clean(&"x".repeat(1000)).len(), 300);
}

fn both(second: i64) -> Clocks {
    Clocks {
        wall: at(second),
        desk: at(second),
    }
}

fn say(change: &FleetChange, known: Option<&Said>, config: &FleetConfig, node: &str, second: i64) -> Option<Said> {
    let teller = Teller {
        config,
        node,
        clocks: both(second),
        joins: false,
    };
    teller.say(change, known)
}

fn standing(decision: Decision, sure: Option<f64>) -> FleetLocal {
    FleetLocal::Decision(Some(FleetStanding {
        decision: Box::new(decision),
        sure,
        enforced: true,
    }))
}

fn done(followed: Followed) -> Decision {
    let Followed::Do(decision) = followed else {
        panic!("{followed:?}");
    };
    *decision
}

fn decision(mint: &mut Mint) -> Decision {
    let made = judge().follow(&heard(mint.decision(at(0)), 3600), 100, &Guards::new(Vec::new()), at(0));
    // As if it had been decided here.
    Decision {
        checks: Vec::new(),
        ..done(made)
    }
}

/// A person's block elsewhere, to that second.
fn heard(id: DecisionId, until: i64) -> FleetDecision {
    FleetDecision {
        id,
        target: net("198.51.100.7/32"),
        action: ActionKind::BlockIp,
        rate: None,
        egress: false,
        until: at(until),
        as_of: at(0),
        by_person: true,
        actor: "joe at two".to_owned(),
        reason: "x".to_owned(),
        severity: None,
        risk: None,
    }
}

fn change(decision: Decision, sure: Option<f64>) -> FleetChange {
    FleetChange {
        subject: format!("d{}", decision.target),
        seq: 1,
        local: standing(decision, sure),
        known: None,
    }
}

#[test]
fn what_is_only_tried_or_heard_or_forged_or_of_one_network_is_not_told() {
    let config = FleetConfig::default();
    let base = Decision {
        origin: Origin::Detector,
        ..decision(&mut Mint::Counted(0))
    };
    let told = |decision: &Decision, sure: Option<f64>, config: &FleetConfig| {
        say(&change(decision.clone(), sure), None, config, "one", 1).is_some()
    };
    assert!(told(&base, None, &config));
    let rate = Rate {
        packets: 10,
        bytes: 0,
        burst_ms: 1000,
        each: false,
        openings: true,
    };
    let mut forged = base.clone();
    forged.action = ActionKind::RateLimit;
    forged.terms.rate = Some(rate);
    let not = [
        Decision {
            simulated: true,
            ..base.clone()
        },
        Decision {
            origin: Origin::Fleet,
            ..base.clone()
        },
        Decision {
            until_if_confirmed: Some(at(9000)),
            ..base.clone()
        },
        Decision {
            target: net("10.1.2.3/32"),
            ..base.clone()
        },
        Decision {
            target: net("fd00::1/128"),
            ..base.clone()
        },
        Decision {
            target: net("100.64.0.1/32"),
            ..base.clone()
        },
        forged,
    ];
    for decision in not {
        assert!(!told(&decision, None, &config), "{decision:?}");
    }
    let private = FleetConfig {
        private: true,
        ..config.clone()
    };
    assert!(told(
        &Decision {
            target: net("10.1.2.3/32"),
            ..base.clone()
        },
        None,
        &private
    ));
    let mut picky = config;
    picky.share.min_confidence = 0.7;
    assert!(!told(&base, Some(0.6), &picky) && !told(&base, None, &picky) && told(&base, Some(0.7), &picky));
    let by_person = Decision {
        origin: Origin::Operator,
        ..base.clone()
    };
    assert!(told(&by_person, None, &picky), "a person is sure");
    picky.share.by = vec!["operator".to_owned()];
    assert!(!told(&base, Some(1.0), &picky));
}

#[test]
fn what_others_say_is_followed_within_what_is_accepted() {
    let config = FleetConfig::default();
    let order = |what: What, config: &FleetConfig| accept::order(&said(what), config, both(10));
    let Ok(FleetOrder::Follow(followed)) = order(What::Decided(decided()), &config) else {
        panic!("it is accepted");
    };
    assert_eq!(followed.actor, "port_scan at one");
    assert_eq!(followed.until, at(3600));
    let refuse = |what: Decided, config: &FleetConfig| order(What::Decided(what), config).unwrap_err();
    let mut strict = config.clone();
    strict.accept.max_duration = Duration::from_mins(1);
    let Ok(FleetOrder::Follow(shorter)) = order(What::Decided(decided()), &strict) else {
        panic!("it is accepted");
    };
    assert_eq!(shorter.until, at(70));
    strict.accept.min_confidence = 0.9;
    assert_eq!(refuse(decided(), &strict), "min_confidence");
    strict.accept.prefixes = false;
    let wide = Decided {
        target: net("198.51.100.0/24"),
        confidence: 1.0,
        ..decided()
    };
    assert_eq!(refuse(wide, &strict), "prefixes");
    strict.accept.actions = vec!["rate_limit".to_owned()];
    assert_eq!(refuse(decided(), &strict), "actions");
    strict.accept.by = vec!["operator".to_owned()];
    assert_eq!(refuse(decided(), &strict), "by");
    assert_eq!(
        refuse(
            Decided {
                until: at(10),
                ..decided()
            },
            &config
        ),
        "over"
    );
    assert_eq!(
        refuse(
            Decided {
                target: net("192.168.1.1/32"),
                ..decided()
            },
            &config
        ),
        "private"
    );
    assert_eq!(
        refuse(
            Decided {
                by: Origin::Fleet,
                ..decided()
            },
            &config
        ),
        "by"
    );
    let isolated = Decided {
        action: ActionKind::IsolateContainer,
        ..decided()
    };
    let Ok(FleetOrder::Follow(blocked)) = order(What::Decided(isolated), &config) else {
        panic!("it is accepted");
    };
    assert_eq!(blocked.action, ActionKind::BlockIp, "a container there is none here");
    strict.accept.allowlist = false;
    let allowed = What::Allowed {
        target: net("198.51.100.7/32"),
        actor: "joe".to_owned(),
        comment: "ours\u{202e}".to_owned(),
        until: None,
    };
    assert_eq!(order(allowed.clone(), &strict).unwrap_err(), "allowlist");
    let Ok(FleetOrder::Allow(entry)) = order(allowed, &config) else {
        panic!("it is accepted");
    };
    assert_eq!((entry.comment.as_str(), entry.actor.as_str()), ("ours", "joe at one"));
}

#[test]
fn an_allowlist_entry_is_told_once_and_its_removal_too_and_its_end_is_not() {
    let config = FleetConfig::default();
    let entry = Allowed {
        target: net("198.51.100.7/32"),
        comment: "ours".to_owned(),
        actor: "joe".to_owned(),
        at: at(0),
        expires_at: Some(at(100)),
    };
    let change = |local: Option<Allowed>| FleetChange {
        subject: "a198.51.100.7/32".to_owned(),
        seq: 1,
        local: FleetLocal::Allowed(local),
        known: None,
    };
    let told = say(&change(Some(entry.clone())), None, &config, "one", 1).unwrap();
    assert_eq!(say(&change(Some(entry)), Some(&told), &config, "two", 2), None);
    let removed = say(&change(None), Some(&told), &config, "two", 2).unwrap();
    assert!(matches!(removed.what, What::Disallowed { .. }) && removed.version > told.version);
    assert_eq!(say(&change(None), Some(&told), &config, "two", 100), None, "it ran out");
    assert_eq!(say(&change(None), Some(&removed), &config, "one", 3), None);
}

#[test]
fn the_end_of_an_allowlist_entry_is_moved_once_between_the_clocks() {
    let config = FleetConfig::default();
    let stepped = Clocks {
        wall: at(3_600),
        desk: at(0),
    };
    let change = FleetChange {
        subject: "a198.51.100.7/32".to_owned(),
        seq: 1,
        local: FleetLocal::Allowed(Some(Allowed {
            target: net("198.51.100.7/32"),
            comment: "ours".to_owned(),
            actor: "joe".to_owned(),
            at: at(0),
            expires_at: Some(at(60)),
        })),
        known: None,
    };
    let teller = Teller {
        config: &config,
        node: "one",
        clocks: stepped,
        joins: false,
    };
    let told = teller.say(&change, None).unwrap();
    assert!(
        matches!(told.what, What::Allowed { until, .. } if until == Some(at(3_660))),
        "{told:?}"
    );
    // By each node's own desk.
    for (clocks, end) in [(stepped, at(60)), (both(3_600), at(3_660))] {
        let Ok(FleetOrder::Allow(entry)) = accept::order(&told, &config, clocks) else {
            panic!("it is accepted");
        };
        assert_eq!(entry.expires_at, Some(end));
    }
}

#[test]
fn what_a_person_took_back_before_anybody_looked_is_told_and_what_others_have_too() {
    let config = FleetConfig::default();
    let ended = Decision {
        origin: Origin::Operator,
        status: DecisionStatus::Deleted,
        ended_at: Some(at(5)),
        ..decision(&mut Mint::Counted(0))
    };
    let alone = |decision: &Decision, now: i64| say(&change(decision.clone(), None), None, &config, "one", now);
    assert!(matches!(
        alone(&ended, 6).unwrap().what,
        What::Released { by_person: true, .. }
    ));
    assert_eq!(alone(&ended, 3600), None, "it would be over by now");
    for not in [
        Decision {
            simulated: true,
            ..ended.clone()
        },
        Decision {
            status: DecisionStatus::Expired,
            ..ended.clone()
        },
        Decision {
            origin: Origin::Fleet,
            ..ended.clone()
        },
    ] {
        assert_eq!(alone(&not, 6), None);
    }
    // Of what another node said, a person's end is told, and only one that is later than what was heard.
    let known = said(What::Decided(decided()));
    let word = signer().word(&known, at(4));
    let told = |decision: Decision| {
        let mut change = change(decision, None);
        change.known = Some(word.clone());
        say(&change, Some(&known), &config, "two", 6)
    };
    let theirs = Decision {
        origin: Origin::Fleet,
        ..ended
    };
    let released = told(theirs.clone()).unwrap();
    assert!(matches!(released.what, What::Released { by_person: true, .. }) && released.version > known.version);
    assert_eq!(
        told(Decision {
            ended_at: Some(at(3)),
            ..theirs.clone()
        }),
        None,
        "that was before"
    );
    let tried = Decision {
        simulated: true,
        ..theirs.clone()
    };
    assert_eq!(told(tried), None, "it was only tried here");
    let protected = crate::types::Veto {
        guard: "gateway".into(),
        reason: String::new(),
    };
    assert_eq!(
        told(Decision {
            veto: Some(protected),
            ..theirs.clone()
        }),
        None,
        "for reasons of this node"
    );
    assert_eq!(
        told(Decision {
            status: DecisionStatus::RolledBack,
            ..theirs
        }),
        None
    );
}

fn judge() -> Judge {
    let mut config = Config::default().response;
    config.policy.ceiling.per_minute = u32::MAX;
    Judge::new(&config, Mode::Production, Mint::Random)
}

/// A node with its books, and a clock that is wrong by a little.
struct Node {
    name: &'static str,
    skew: i64,
    judge: Judge,
    rows: BTreeMap<IpNet, Decision>,
    words: HashMap<String, FleetWord>,
    dirty: BTreeSet<IpNet>,
    heard: usize,
}

impl Node {
    fn new(name: &'static str, skew: i64) -> Self {
        Self {
            name,
            skew,
            judge: judge(),
            rows: BTreeMap::new(),
            words: HashMap::new(),
            dirty: BTreeSet::new(),
            heard: 0,
        }
    }

    fn book(&mut self, decisions: impl IntoIterator<Item = Decision>) {
        for decision in decisions {
            self.dirty.insert(decision.target);
            self.rows.insert(decision.target, decision);
        }
    }

    fn decide(&mut self, target: IpNet, length: i64, now: i64) {
        let wish = wish(target, Duration::from_secs(length.cast_unsigned()));
        let made = self
            .judge
            .operator(&wish, &Guards::new(Vec::new()), at(now + self.skew));
        self.book(made);
    }

    fn delete(&mut self, target: IpNet, now: i64) {
        let ended = self.judge.delete(&Selector::Target(target), false, at(now + self.skew));
        self.book(ended);
    }

    /// As the room does it, without the disk.
    fn digest(&mut self, now: i64) -> Vec<FleetWord> {
        let second = now + self.skew;
        let mut new = Vec::new();
        for target in std::mem::take(&mut self.dirty) {
            let subject = format!("d{target}");
            let known = self.words.get(&subject).cloned();
            let told = known.as_ref().and_then(|word| read(&word.body).ok());
            let local = self.rows.get(&target).map(|row| standing(stored(row), None));
            let change = FleetChange {
                subject,
                seq: 0,
                local: local.unwrap_or(FleetLocal::Decision(None)),
                known,
            };
            if let Some(said) = say(&change, told.as_ref(), &FleetConfig::default(), self.name, second) {
                let word = signer().word(&said, at(second));
                self.words.insert(word.subject.clone(), word.clone());
                new.push(word);
            }
        }
        new
    }

    fn hear(&mut self, word: &FleetWord, now: i64) {
        let clocks = both(now + self.skew);
        let (said, word) = signer().hear(&word.body, &word.mac, clocks.wall, clocks.desk).unwrap();
        if self
            .words
            .get(&word.subject)
            .is_some_and(|known| known.version >= word.version)
        {
            return;
        }
        match accept::order(&said, &FleetConfig::default(), clocks) {
            Ok(FleetOrder::Follow(followed)) => {
                match self
                    .judge
                    .follow(&followed, 1000, &Guards::new(Vec::new()), clocks.desk)
                {
                    Followed::Content => {}
                    Followed::Held => panic!("nobody ended it after that"),
                    Followed::Do(made) => self.book([*made]),
                }
            }
            Ok(FleetOrder::Release {
                target,
                by_person,
                as_of,
                ..
            }) => {
                let ended = self.judge.release(target, by_person, as_of, clocks.desk);
                self.book(ended);
            }
            other => panic!("{other:?}"),
        }
        self.words.insert(word.subject.clone(), word);
    }

    /// What ran out, and words that nobody needs any more.
    fn pass(&mut self, now: i64) {
        let now = at(now + self.skew);
        let ended = self.judge.expire(now);
        self.book(ended);
        self.words.retain(|_, word| word.ends_at >= now);
    }

    /// What goes on for a while yet: with clocks apart, ends of about now differ.
    fn in_force(&self, now: i64) -> BTreeMap<IpNet, (ActionKind, Option<Timestamp>)> {
        let lasts = |d: &&Decision| d.expires_at > Some(at(now + 600));
        let all = self.judge.active().filter(lasts);
        all.map(|d| (d.target, (d.action, stored(d).expires_at))).collect()
    }
}

/// As it comes back from the database: times to the microsecond.
fn stored(decision: &Decision) -> Decision {
    serde_json::from_str(&serde_json::to_string(decision).unwrap()).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Decide(usize, u8, i64),
    Delete(usize, u8),
    Tell(usize),
    Hear(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize, 0..4_u8, prop_oneof![60..900_i64, 7_200..80_000_i64]).prop_map(|(node, target, length)| Step::Decide(node, target, length)),
        2 => (0..3_usize, 0..4_u8).prop_map(|(node, target)| Step::Delete(node, target)),
        3 => (0..3_usize).prop_map(Step::Tell),
        3 => (0..3_usize, 1..6_usize).prop_map(|(node, words)| Step::Hear(node, words)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whoever_is_away_for_whatever_time_all_have_the_same_in_the_end(
        steps in prop::collection::vec(step(), 1..60),
        skews in prop::array::uniform3(-250..250_i64),
    ) {
        let mut nodes: Vec<Node> = ["one", "two", "three"]
            .into_iter()
            .zip(skews)
            .map(|(name, skew)| Node::new(name, skew))
            .collect();
        let target = |n: u8| net(&format!("198.51.100.{n}/32"));
        let mut log: Vec<FleetWord> = Vec::new();
        // The Redis takes only what is newer than what it knows of the subject.
        let tell = |log: &mut Vec<FleetWord>, words: Vec<FleetWord>| {
            for word in words {
                let newest = log.iter().filter(|old| old.subject == word.subject).map(|old| &old.version).max();
                if newest.is_none_or(|newest| *newest < word.version) {
                    log.push(word);
                }
            }
        };
        let mut unsent: Vec<Vec<FleetWord>> = vec![Vec::new(); 3];
        let mut now = 0;
        for step in steps {
            now += 40;
            for node in &mut nodes {
 node.pass(now);
}
            match step {
                Step::Decide(node, n, length) => nodes[node].decide(target(n), length, now),
                Step::Delete(node, n) => nodes[node].delete(target(n), now),
                Step::Tell(node) => {
                    let new = nodes[node].digest(now);
                    unsent[node].extend(new);
                    tell(&mut log, std::mem::take(&mut unsent[node]));
                }
                Step::Hear(node, words) => {
                    let new = nodes[node].digest(now);
                    unsent[node].extend(new);
                    for word in log.iter().skip(nodes[node].heard).take(words) {
                        nodes[node].hear(word, now);
                        nodes[node].heard += 1;
                    }
                }
            }
        }
        // All come back, and it must become quiet.
        for round in 0.. {
            prop_assert!(round < 10, "they talk in circles");
            let before = log.len();
            for node in 0..3 {
                now += 1;
                let new = nodes[node].digest(now);
                unsent[node].extend(new);
                tell(&mut log, std::mem::take(&mut unsent[node]));
            }
            for node in &mut nodes {
                for word in log.iter().skip(node.heard) {
                    node.hear(word, now);
                }
                node.heard = log.len();
            }
            if log.len() == before && nodes.iter().all(|node| node.dirty.is_empty()) {
                break;
            }
        }
        for node in &mut nodes {
 node.pass(now);
}
        let first = nodes[0].in_force(now);
        for node in &nodes[1..] {
            prop_assert_eq!(&node.in_force(now), &first, "{} differs", node.name);
        }
    }
}

#[test]
fn a_detector_elsewhere_neither_shortens_nor_overrules_and_a_person_does() {
    let guards = Guards::new(Vec::new());
    let follow = |judge: &mut Judge, by_person: bool, hours: i64, action: ActionKind| {
        let word = FleetDecision {
            action,
            by_person,
            ..heard(Mint::Random.decision(at(0)), hours * 3600)
        };
        judge.follow(&word, 2, &guards, at(100))
    };
    let mut here = judge();
    let own = here
        .operator(&wish(net("198.51.100.7/32"), 4 * HOUR), &guards, at(0))
        .unwrap();
    let as_good = follow(&mut here, false, 1, ActionKind::BlockIp);
    assert_eq!(as_good, Followed::Content, "as good is in force");
    let longer = done(follow(&mut here, false, 8, ActionKind::RateLimit));
    assert_eq!(
        (longer.id, longer.action, longer.origin),
        (own.id, ActionKind::BlockIp, Origin::Operator)
    );
    assert_eq!(longer.expires_at, Some(at(8 * 3600)));
    let shorter = done(follow(&mut here, true, 1, ActionKind::BlockIp));
    assert_eq!((shorter.id, shorter.expires_at), (own.id, Some(at(3600))));
    let again = follow(&mut here, true, 1, ActionKind::BlockIp);
    assert_eq!(again, Followed::Content, "said again it is the same");
    // A detector elsewhere ends nothing that a person chose.
    assert!(here.release(net("198.51.100.7/32"), false, at(101), at(101)).is_empty());
    // So many and no more; and what is in force keeps its name.
    for n in 1..3 {
        let word = FleetDecision {
            target: net(&format!("203.0.113.{n}/32")),
            by_person: false,
            ..heard(Mint::Random.decision(at(0)), 3600)
        };
        let made = done(here.follow(&word, 2, &guards, at(100)));
        if n == 1 {
            assert_eq!(made.status, DecisionStatus::Active);
            assert!(made.is_followed());
        } else {
            assert_eq!(made.veto.unwrap().guard, "fleet_entries");
            assert_ne!(made.id, word.id);
        }
    }
    // What a person ends here is later than what was heard before.
    let word = |by_person: bool, as_of: i64| FleetDecision {
        by_person,
        as_of: at(as_of),
        ..heard(Mint::Random.decision(at(0)), 7200)
    };
    let ours = Selector::Target(net("198.51.100.7/32"));
    assert_eq!(here.delete(&ours, false, at(200)).len(), 1);
    for by_person in [true, false] {
        let followed = here.follow(&word(by_person, 199), 9, &guards, at(300));
        assert_eq!(followed, Followed::Held);
    }
    let later = here.follow(&word(true, 201), 9, &guards, at(230));
    assert!(matches!(later, Followed::Do(_)));
    // Heard together, an end and what came after it are in their order.
    assert_eq!(here.release(net("198.51.100.7/32"), true, at(400), at(401)).len(), 1);
    let after = here.follow(&word(true, 400), 9, &guards, at(402));
    assert!(matches!(after, Followed::Do(_)), "{after:?}");
}

#[test]
fn a_detector_that_did_not_know_of_a_person_s_end_is_not_followed() {
    let end = Said::new(
        "one",
        at(100).0,
        What::Released {
            target: net("198.51.100.7/32"),
            actor: "joe".to_owned(),
            by_person: true,
            until: None,
        },
        None,
    );
    let by = |by: Origin, second: i64| Said::new("two", at(second).0, What::Decided(Decided { by, ..decided() }), None);
    assert!(accept::is_held(&by(Origin::Detector, 101), &end) && accept::is_held(&by(Origin::Detector, 159), &end));
    assert!(
        !accept::is_held(&by(Origin::Detector, 160), &end),
        "a minute later it knows"
    );
    assert!(!accept::is_held(&by(Origin::Operator, 101), &end), "a person may");
    assert!(!accept::is_held(&by(Origin::Detector, 101), &by(Origin::Operator, 100)));
}

#[test]
fn what_was_shorter_is_remembered_as_long_as_what_it_replaced() {
    let long = said(What::Decided(decided()));
    let short = Decided {
        until: at(60),
        by: Origin::Operator,
        ..decided()
    };
    let shorter = Said::new("two", long.version + 1, What::Decided(short), Some(&long));
    let word = signer().word(&shorter, at(2));
    assert_eq!(word.ends_at, at(3600), "the longer one may come again until then");
    // Whoever was away while the shorter one ran has the longer one, and lets go of it.
    let order = accept::order(&shorter, &FleetConfig::default(), both(1000)).unwrap();
    assert!(
        matches!(order, FleetOrder::Release { by_person: true, .. }),
        "{order:?}"
    );
    let removed = What::Disallowed {
        target: net("198.51.100.9/32"),
        actor: "joe".to_owned(),
    };
    let allowed = said(What::Allowed {
        target: net("198.51.100.9/32"),
        actor: "joe".to_owned(),
        comment: String::new(),
        until: None,
    });
    let never = Said::new("two", 9, removed, Some(&allowed));
    assert!(never.ends > at(1_000_000_000), "{:?}", never.ends);
}

#[test]
fn whoever_comes_to_the_fleet_does_not_make_the_old_the_newest() {
    let config = FleetConfig::default();
    let clocks = both(1000);
    let joining = Teller {
        config: &config,
        node: "three",
        clocks,
        joins: true,
    };
    let old = Decision {
        at: at(10),
        origin: Origin::Detector,
        ..decision(&mut Mint::Counted(0))
    };
    let told = joining.say(&change(old.clone(), None), None).unwrap();
    assert_eq!(told.version, at(10).0);
    let known = Said::new("one", at(500).0, What::Decided(decided()), None);
    assert_eq!(
        joining.say(&change(old, None), Some(&known)),
        None,
        "what they know is newer"
    );
}

#[test]
fn what_is_not_in_force_yet_is_not_told_and_what_failed_is_taken_back() {
    let config = FleetConfig::default();
    let base = Decision {
        origin: Origin::Detector,
        ..decision(&mut Mint::Counted(0))
    };
    let mut early = change(base.clone(), None);
    if let FleetLocal::Decision(Some(standing)) = &mut early.local {
        standing.enforced = false;
    }
    assert_eq!(say(&early, None, &config, "one", 1), None);
    let failed = Decision {
        status: DecisionStatus::Failed,
        ended_at: Some(at(0)),
        ..base
    };
    let known = said(What::Decided(decided()));
    let mut change = change(failed, None);
    change.known = Some(signer().word(&known, at(4)));
    let released = say(&change, Some(&known), &config, "one", 6).unwrap();
    assert!(matches!(released.what, What::Released { .. }));
    assert_eq!(
        say(&change, Some(&known), &config, "two", 6),
        None,
        "it was not this node's"
    );
}
