//! Verdicts by what was before and is now, and real servers that answer or do not.

use super::*;
use crate::config::{Probe, ProbeKind};
use crate::types::{Clock, DecisionId, Heard, Ktime, Provisional, Timestamp, Verdict};
use proptest::prelude::*;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SEC: u64 = 1_000_000_000;
const WINDOW: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Ktime {
    Ktime((1_000 + seconds) * SEC)
}

fn provisional(name: u128, ends: u64) -> Provisional {
    Provisional {
        decision: DecisionId(uuid::Uuid::from_u128(name)),
        target: "198.51.100.0/24".parse().unwrap(),
        ends: Timestamp(at(ends).0 as i64),
    }
}

/// Peers heard of at these seconds; the first `inside` of them are of the prefix.
fn heard(at_second: u64, inside: u8, seconds: &[u64]) -> Arc<Heard> {
    let peers = seconds.iter().zip(0u8..).map(|(second, n)| {
        let net = if n < inside { 198 } else { 203 };
        (IpAddr::from([net, 51, 100, n]), at(*second))
    });
    Arc::new(Heard {
        at: at(at_second),
        peers: peers.collect(),
    })
}

fn trials(probes: usize) -> Trials {
    Trials::new((0..probes).map(|n| format!("tcp://192.0.2.{n}:80")).collect(), WINDOW)
}

fn says(answers: &[bool]) -> Vec<Answer> {
    let answer = |ok: &bool| {
        if *ok {
            Ok(())
        } else {
            Err(ProbeError::Silent("silent".to_owned()))
        }
    };
    answers.iter().map(answer).collect()
}

fn not_asked() -> Answer {
    Err(ProbeError::NotAsked("too many open files".to_owned()))
}

/// Asks as the room does until `until`, with an answer that takes no time; returns what was said, and when.
fn run(
    trials: &mut Trials,
    from: u64,
    until: u64,
    mut answers: impl FnMut(Ktime) -> Vec<bool>,
    heard: &Heard,
) -> Vec<(Ktime, Verdict)> {
    run_with(trials, from, until, |now| says(&answers(now)), heard)
}

fn run_with(
    trials: &mut Trials,
    from: u64,
    until: u64,
    mut answers: impl FnMut(Ktime) -> Vec<Answer>,
    heard: &Heard,
) -> Vec<(Ktime, Verdict)> {
    let mut now = at(from);
    let mut said = Vec::new();
    while let Some(next) = trials.next(now).filter(|next| *next <= at(until)) {
        now = now.max(next);
        let round = trials.begin(now);
        let verdicts = trials.told(round, &answers(now), heard, now);
        said.extend(verdicts.into_iter().map(|verdict| (now, verdict)));
    }
    said
}

/// One round while nothing is provisional.
fn idle(trials: &mut Trials, answers: &[Answer]) {
    let round = trials.begin(at(0));
    assert_eq!(trials.told(round, answers, &Heard::default(), at(0)), []);
}

/// As many rounds while nothing is provisional as it takes to be believed.
fn before(trials: &mut Trials, answers: &[bool]) {
    for _ in 0..2 {
        idle(trials, &says(answers));
    }
}

#[test]
fn with_nobody_to_ask_it_is_confirmed_in_time_and_says_so() {
    let mut trials = trials(0);
    let one = provisional(1, 40);
    assert_eq!(trials.next(at(10)), None);
    trials.keep(&[one], &Arc::default(), Clock::default(), at(10));
    let said = run(&mut trials, 10, 60, |_| vec![], &Heard::default());
    let (when, verdict) = said.first().expect("a verdict");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(*when >= at(30) && *when < at(40), "{when:?}");
    assert_eq!((verdict.decision, verdict.ends), (one.decision, one.ends));
    let words = verdict.outcome.as_ref().expect("confirmed");
    assert!(words.contains("nothing spoke against it"), "{words}");
    assert_eq!(trials.next(at(40)), None, "said once");
}

#[test]
fn who_answered_before_and_falls_silent_rolls_it_back_at_once() {
    let mut trials = trials(2);
    before(&mut trials, &[true, true]);
    trials.keep(&[provisional(1, 40)], &Arc::default(), Clock::default(), at(10));
    let said = run(&mut trials, 10, 60, |_| vec![true, false], &Heard::default());
    let (when, verdict) = said.first().expect("a verdict");
    assert!(*when < at(12), "{when:?}");
    let why = verdict.outcome.as_ref().expect_err("rolled back");
    assert_eq!(
        why,
        "tcp://192.0.2.1:80 answered before it and does not any more: silent"
    );
}

#[test]
fn what_was_down_already_and_a_lost_packet_are_no_reason() {
    let mut trials = trials(2);
    before(&mut trials, &[true, false]);
    trials.keep(&[provisional(1, 40)], &Arc::default(), Clock::default(), at(10));
    let mut rounds = 0;
    let lossy = |_| {
        rounds += 1;
        vec![rounds % 2 == 0, false]
    };
    let said = run(&mut trials, 10, 60, lossy, &Heard::default());
    let (when, verdict) = said.first().expect("a verdict");
    assert!(*when < at(40), "{when:?}");
    let words = verdict.outcome.as_ref().expect("confirmed");
    assert_eq!(words, "1 probes answer, 1 had not answered before either");
}

#[test]
fn a_silence_that_a_decision_made_is_not_taken_for_how_it_was_before() {
    let mut trials = trials(1);
    before(&mut trials, &[true]);
    trials.keep(&[provisional(1, 40)], &Arc::default(), Clock::default(), at(10));
    assert!(
        run(&mut trials, 10, 60, |_| vec![false], &Heard::default())[0]
            .1
            .outcome
            .is_err()
    );
    // The next one comes before anybody was asked again.
    trials.keep(&[provisional(2, 50)], &Arc::default(), Clock::default(), at(20));
    let said = run(&mut trials, 20, 60, |_| vec![false], &Heard::default());
    assert!(said[0].1.outcome.is_err(), "{said:?}");
    // Asked while nothing is provisional, it is known to be down.
    trials.keep(&[], &Arc::default(), Clock::default(), at(25));
    before(&mut trials, &[false]);
    trials.keep(&[provisional(3, 60)], &Arc::default(), Clock::default(), at(30));
    let said = run(&mut trials, 30, 70, |_| vec![false], &Heard::default());
    assert!(said[0].1.outcome.is_ok(), "{said:?}");
}

#[test]
fn neither_our_own_trouble_nor_one_silence_before_it_makes_a_probe_one_that_was_down() {
    for amiss in [vec![not_asked(); 3], says(&[false])] {
        let mut trials = trials(1);
        before(&mut trials, &[true]);
        for answer in amiss {
            idle(&mut trials, &[answer]);
        }
        trials.keep(&[provisional(1, 40)], &Arc::default(), Clock::default(), at(10));
        let said = run(&mut trials, 10, 60, |_| vec![false], &Heard::default());
        let why = said[0].1.outcome.as_ref().expect_err("it is cut off");
        assert!(why.contains("answered before it and does not any more"), "{why}");
    }
}

#[test]
fn our_own_trouble_rolls_nothing_back_and_nothing_is_confirmed_until_it_is_over() {
    let mut trials = trials(2);
    before(&mut trials, &[true, false]);
    trials.keep(&[provisional(1, 40)], &Arc::default(), Clock::default(), at(10));
    let mut rounds = 0;
    let troubled = |_| {
        rounds += 1;
        vec![not_asked(), not_asked()]
    };
    let said = run_with(&mut trials, 10, 35, troubled, &Heard::default());
    assert!(said.is_empty(), "nobody knows whether it is cut off: {said:?}");
    assert!(rounds < 100, "it is not asked without a pause: {rounds}");
    let said = run_with(&mut trials, 35, 40, |_| vec![Ok(()), not_asked()], &Heard::default());
    let words = said[0].1.outcome.as_ref().expect("confirmed");
    assert_eq!(words, "1 probes answer, 1 had not answered before either");
}

#[test]
fn what_nobody_knows_of_before_must_answer() {
    for (answers, confirmed) in [(true, true), (false, false)] {
        let mut trials = trials(1);
        trials.keep(&[provisional(1, 40)], &Arc::default(), Clock::default(), at(10));
        let said = run(&mut trials, 10, 60, |_| vec![answers], &Heard::default());
        assert_eq!(said[0].1.outcome.is_ok(), confirmed);
    }
}

#[test]
fn a_round_that_began_before_it_says_nothing_of_it() {
    let mut trials = trials(1);
    before(&mut trials, &[true]);
    let early = trials.begin(at(9));
    trials.keep(&[provisional(1, 40)], &Arc::default(), Clock::default(), at(10));
    for _ in 0..3 {
        assert_eq!(trials.told(early, &says(&[false]), &Heard::default(), at(11)), []);
    }
    let said = run(&mut trials, 11, 60, |_| vec![true], &Heard::default());
    assert!(said[0].1.outcome.is_ok(), "{said:?}");
}

#[test]
fn peers_elsewhere_who_fall_silent_roll_it_back() {
    // Six were heard of before it. Since: who, and whether that suffices. Those of the prefix itself are left out.
    let was: &[u64] = &[8, 9, 9, 9, 10, 10];
    let cases: [(&str, Arc<Heard>, Arc<Heard>, bool); 5] = [
        ("silence", heard(10, 0, was), heard(30, 0, was), false),
        (
            "half go on",
            heard(10, 0, was),
            heard(30, 0, &[8, 9, 9, 29, 29, 28]),
            true,
        ),
        (
            "others came",
            heard(10, 0, was),
            heard(30, 0, &[8, 9, 9, 9, 29, 28, 25]),
            true,
        ),
        ("too few to tell", heard(10, 2, was), heard(30, 2, was), true),
        ("nobody listens", heard(10, 0, was), heard(10, 0, was), true),
    ];
    for (what, was, is, confirmed) in cases {
        let mut trials = trials(0);
        trials.keep(&[provisional(1, 40)], &was, Clock::default(), at(10));
        let said = run(&mut trials, 10, 60, |_| vec![], &is);
        let outcome = &said[0].1.outcome;
        assert_eq!(outcome.is_ok(), confirmed, "{what}: {outcome:?}");
    }
}

#[test]
fn what_is_settled_is_forgotten_and_another_window_is_another_trial() {
    let mut trials = trials(0);
    trials.keep(&[provisional(1, 40)], &Arc::default(), Clock::default(), at(10));
    trials.keep(&[], &Arc::default(), Clock::default(), at(11));
    assert_eq!(trials.next(at(11)), None);
    trials.keep(&[provisional(1, 40)], &Arc::default(), Clock::default(), at(12));
    trials.keep(&[provisional(1, 50)], &Arc::default(), Clock::default(), at(20));
    let said = run(&mut trials, 20, 60, |_| vec![], &Heard::default());
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].1.ends, provisional(1, 50).ends);
    assert!(said[0].0 >= at(40));
}

#[test]
fn beyond_the_bound_nothing_is_judged_and_it_is_counted() {
    let mut trials = trials(0);
    let many: Vec<Provisional> = (0..TRIALS as u128 + 3).map(|n| provisional(n, 40)).collect();
    let beyond = trials.keep(&many, &Arc::default(), Clock::default(), at(10));
    assert_eq!(beyond, 3);
    let said = run(&mut trials, 10, 60, |_| vec![], &Heard::default());
    assert_eq!(said.len(), TRIALS);
}

proptest! {
    /// Whatever answers: one verdict at most, within the window; confirmed only where nobody was silent twice in a row.
    #[test]
    fn one_word_within_the_window(
        known in proptest::option::of(proptest::collection::vec(any::<bool>(), 3)),
        answers in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 3), 1..20),
        left in 1u64..30,
    ) {
        let mut trials = trials(3);
        if let Some(known) = &known {
            before(&mut trials, known);
        }
        trials.keep(&[provisional(1, 10 + left)], &Arc::default(), Clock::default(), at(10));
        let mut asked = Vec::new();
        let mut turn = answers.iter().cycle();
        let said = run(&mut trials, 10, 10 + left, |_| {
            let answer = turn.next().unwrap().clone();
            asked.push(answer.clone());
            answer
        }, &Heard::default());
        prop_assert!(said.len() <= 1);
        let must = |n: usize| known.as_ref().is_none_or(|known| known[n]);
        let fell = (0..3).any(|n| must(n) && asked.windows(2).any(|two| !two[0][n] && !two[1][n]));
        if let Some((when, verdict)) = said.first() {
            prop_assert!(*when <= at(10 + left));
            prop_assert_eq!(verdict.outcome.is_err(), fell);
        } else {
            prop_assert!(!fell);
        }
    }
}

/// A server that answers everything with this.
async fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

fn http(url: String) -> Probe {
    Probe {
        text: url,
        how: ProbeKind::Http,
    }
}

fn tcp(port: u16) -> Probe {
    let host = "127.0.0.1".to_owned();
    Probe {
        text: format!("tcp://{host}:{port}"),
        how: ProbeKind::Tcp { host, port },
    }
}

#[tokio::test]
async fn real_servers_are_told_from_broken_silent_and_missing_ones() {
    let good = server("HTTP/1.1 204 No Content\r\n\r\n").await;
    let elsewhere = server("HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n").await;
    let broken = server("HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let nonsense = server("ssh, not http\r\n").await;
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = silent.local_addr().unwrap().port();
    let url = |port: u16| http(format!("http://127.0.0.1:{port}/health"));
    let probes = [
        tcp(good),
        tcp(gone),
        url(good),
        url(elsewhere),
        url(broken),
        url(nonsense),
        url(mute),
        url(gone),
    ];
    let patience = Duration::from_secs(5);
    let begun = tokio::time::Instant::now();
    let answers = Asker::new(&probes, patience).round().await;
    assert!(begun.elapsed() < 2 * patience, "all at once");
    let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(
        good,
        [true, false, true, true, false, false, false, false],
        "{answers:?}"
    );
    let why = |n: usize| match answers[n].clone() {
        Err(ProbeError::Silent(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(why(1).contains("refused"), "{}", why(1));
    assert_eq!(why(4), "it answers 503");
    assert_eq!(why(6), "no answer within 5000 ms");
    assert_eq!(why(7), "no connection");
}
