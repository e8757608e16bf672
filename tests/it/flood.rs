//! Floods, with the whole agent: of a source that is blocked while everybody asks the agent, and of sources that are forged.

use crate::scene::{SOON, agent_or_skip};
use crate::talk::{ECHO, PORT, TALK, python, says};
use serde_json::json;
use std::cell::RefCell;
use std::process::Command;
use std::time::{Duration, Instant};
use testbed::agent::Agent;
use testbed::crowd::{self, Size};
use testbed::forge::{Stream, Witness};
use testbed::lab::Lab;
use testbed::net::Host;
use testbed::wait;

/// How hard and for how long: a moment in every run, longer by `FLOOD_SECONDS`.
#[derive(Clone, Copy)]
struct Length {
    seconds: u64,
    /// Packets a second.
    rate: u64,
    crowd: Size,
}

fn length() -> Length {
    let seconds = std::env::var("FLOOD_SECONDS")
        .ok()
        .map(|text| text.parse().expect("seconds"));
    match seconds {
        None => Length {
            seconds: 3,
            rate: 50_000,
            crowd: Size {
                per_second: 50,
                readers: 200,
            },
        },
        Some(seconds) => Length {
            seconds,
            rate: 200_000,
            crowd: Size {
                per_second: 500,
                readers: 200,
            },
        },
    }
}

/// Asks for a new connection every 20 ms, each by itself: one whose SYN a busy machine dropped asks again after seconds.
/// Says how many were served once it is interrupted and all have ended, and of them how many within a second.
const NEWCOMERS: &str = "
import signal, socket, sys, threading, time
going = [True]
signal.signal(signal.SIGINT, lambda *_: going.clear())
took = []
def come():
    began = time.monotonic()
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 30) as s:
            s.settimeout(30)
            s.sendall(b'hello')
            if s.recv(8) == b'hello': took.append(time.monotonic() - began)
            else: print('no answer', flush=True)
    except OSError as e: print(e, flush=True)
came = []
while going:
    came.append(threading.Thread(target=come))
    came[-1].start()
    if len(came) == 1:
        came[0].join()
        print('coming', flush=True)
    time.sleep(0.02)
for one in came: one.join()
print('served', len(took), 'of', len(came), 'at once', sum(t < 1 for t in took), flush=True)
";

/// The numbers in the line that begins with a word.
fn numbers(printed: &str, word: &str) -> Vec<u64> {
    let line = printed
        .lines()
        .find(|line| line.starts_with(word))
        .unwrap_or_else(|| panic!("{printed}"));
    line.split(' ').filter_map(|part| part.parse().ok()).collect()
}

/// Packets `eth0` took in, before anybody judged them.
fn received(host: &Host) -> u64 {
    let shown = host
        .run("cat /sys/class/net/eth0/statistics/rx_packets", SOON)
        .expect("cat")
        .output;
    shown.trim().parse().expect("a number")
}

/// What the agent has resident, and of it heap and stacks, MiB.
fn resident(agent: &Agent) -> [f64; 2] {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid().expect("running"))).expect("status");
    ["VmRSS:", "RssAnon:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    })
}

/// Counters that do not move for so long have come to rest.
const STILL: Duration = Duration::from_secs(5);

/// What came in, and what the programs say became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Account {
    came: u64,
    judged: u64,
    dropped: u64,
    by_reason: u64,
}

impl Account {
    fn read(lab: &Lab) -> Self {
        let metrics = lab.agent.metrics().expect("metrics");
        Self {
            came: received(&lab.protected),
            judged: metrics.sum("sentinel_xdp_packets_total", &[]) as u64,
            dropped: metrics.sum("sentinel_xdp_packets_total", &["action=\"drop\""]) as u64,
            by_reason: metrics.sum("sentinel_xdp_drops_total", &[]) as u64,
        }
    }

    /// Once nothing comes any more, and all that came since `before` is told: the kernel's counters once a second, later
    /// on a busy machine. Where some never is, what there is, which is for the caller to judge.
    fn settled(lab: &Lab, before: Option<Self>) -> Self {
        let last = RefCell::new((Self::read(lab), Instant::now()));
        let settled = wait::until("the counters to come to rest", SOON * 6, || {
            let (now, mut last) = (Self::read(lab), last.borrow_mut());
            if now != last.0 {
                *last = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(100));
            let (still, since) = (last.1.elapsed(), before.map(|before| now.since(before)));
            let all = since.is_none_or(|since| since.judged == since.came);
            Ok((still > SOON || all && still > STILL).then_some(now))
        });
        settled.unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn since(self, before: Self) -> Self {
        Self {
            came: self.came - before.came,
            judged: self.judged - before.judged,
            dropped: self.dropped - before.dropped,
            by_reason: self.by_reason - before.by_reason,
        }
    }
}

/// L1 and L6, and I8 of the packets: all of it is dropped and accounted for, whoever else wants something of the agent.
#[test]
fn a_blocked_source_stays_out_to_the_packet_while_everybody_asks() {
    let Some(binary) = agent_or_skip() else { return };
    let mut lab = Lab::new(&binary, &json!({})).unwrap_or_else(|error| panic!("{error:#}"));
    let attacker = lab.attacker().expect("a host");
    let length = length();
    let packet = format!(
        "ipv4(saddr={}, daddr={}, ttl=64), udp(sport=drnd(1024, 65535), dport=9999), fill('x', 20)",
        attacker.v4, lab.protected.v4
    );
    let counted = format!("ip saddr {}", attacker.v4);
    let witness = Witness::new(&lab.protected, &[("attacker", &counted)]).expect("nft");
    let send = |packets, rate| Stream::start(&attacker, &lab.protected, &packet, packets, rate).expect("trafgen");
    // Positive control.
    send(10, None).finish().expect("sent");
    wait::until("it to be seen before the block", SOON, || {
        Ok((witness.count("attacker")? == 10).then_some(()))
    })
    .expect("seen");
    let address = attacker.v4.to_string();
    let told = lab
        .agent
        .cli(&["decisions", "add", "--ip", &address, "--duration", "1h"])
        .expect("runs");
    assert_eq!(told.code, 0, "{}", told.output);

    let packets = length.rate * length.seconds;
    let flood = |crowd: bool| {
        let before = Account::settled(&lab, None);
        let start = Instant::now();
        let stream = RefCell::new(send(packets, Some(length.rate)));
        let going = || stream.borrow_mut().running().expect("trafgen");
        let served = crowd.then(|| crowd::come(&lab.agent.socket(), length.crowd, going).expect("let in"));
        stream.into_inner().finish().expect("sent");
        let took = start.elapsed().as_secs_f64();
        (Account::settled(&lab, Some(before)).since(before), served, took)
    };
    let (alone, _, _) = flood(false);
    let (beside, served, took) = flood(true);
    let served = served.expect("a crowd");
    for (account, what) in [(alone, "alone"), (beside, "beside a crowd")] {
        assert_eq!(
            account.judged, account.came,
            "{what}: every packet is in one verdict: {account:?}"
        );
        assert_eq!(
            account.dropped, account.by_reason,
            "{what}: every drop has one reason: {account:?}"
        );
        // A veth whose receiver is not given time loses some before anybody judges them.
        assert!(
            account.dropped > packets / 4 && account.dropped <= packets,
            "{what}: {account:?} of {packets}"
        );
    }
    assert_eq!(witness.count("attacker").expect("count"), 10, "it got through");
    let hits = Some(alone.dropped + beside.dropped);
    let block = wait::until("every hit to be told", SOON, || {
        let block = lab.agent.block(attacker.v4.into())?;
        Ok(block.filter(|block| block["hits"].as_u64() >= hits))
    });
    let block = block.unwrap_or_else(|error| panic!("{error:#}: {:?}", lab.agent.active()));
    assert_eq!(block["hits"].as_u64(), hits, "{block}");
    // A busy machine may tell some to come again.
    let (later, wrong): (Vec<_>, Vec<_>) = served.other.iter().partition(|told| told.ends_with(" 503"));
    assert!(wrong.is_empty(), "{} went wrong: {:?}", wrong.len(), wrong.first());
    let asked = served.answered + later.len() as u64;
    assert!(
        later.len() as u64 * 20 <= asked,
        "{} of {asked} were to come again: {:?}",
        later.len(),
        later.first()
    );
    assert_eq!(served.readers, length.crowd.readers);
    // Whoever is given no time for ten seconds is let go.
    assert!(served.cut * 20 <= served.readers as u64, "{} cut off", served.cut);
    println!(
        "figure: packets of the blocked source = {} packets",
        alone.dropped + beside.dropped
    );
    println!("figure: of them behind the gate = 0 packets");
    println!(
        "figure: rate beside the crowd = {:.0} packets/s",
        beside.dropped as f64 / took
    );
    println!(
        "figure: dropped beside the crowd, of alone = {:.3}",
        beside.dropped as f64 / alone.dropped as f64
    );
    println!("figure: requests answered = {} requests", served.answered);
    println!("figure: requests a second = {:.0} 1/s", served.answered as f64 / took);
    println!("figure: refused or failed = {} requests", later.len());
    println!("figure: answer, median = {:.1} ms", served.p50.as_secs_f64() * 1e3);
    println!("figure: answer, p99 = {:.1} ms", served.p99.as_secs_f64() * 1e3);
    println!("figure: readers of the stream = {} readers", served.readers);
    println!("figure: of them cut off = {} readers", served.cut);
    println!(
        "figure: told to readers = {:.1} MiB",
        served.told as f64 / f64::from(1 << 20)
    );
}

/// The settings of `.cargo/config.toml` are in the agent that is tested, and its allocator is the one they are of.
#[test]
fn the_agents_allocator_gives_back_what_nobody_uses() {
    let Some(binary) = agent_or_skip() else { return };
    let mut version = Command::new(&binary);
    let told = version
        .arg("--version")
        .env("_RJEM_MALLOC_CONF", "stats_print:true")
        .output()
        .expect("runs");
    let told = String::from_utf8_lossy(&told.stderr);
    for setting in [
        "narenas: 1",
        "dirty_decay_ms: 100 ",
        "muzzy_decay_ms: 0 ",
        "background_thread: false",
    ] {
        assert!(told.contains(&format!("opt.{setting}")), "{setting} in {told}");
    }
}

/// By how much it may grow with tables as small as these, MiB: they and the channels between its rooms are filled to their bounds.
const GROWTH: f64 = 64.0;

/// L2: nobody is blocked for it, who wants in gets in, who is in stays, and the agent hardly grows, on a host where it is
/// told to be small.
#[test]
fn a_flood_from_everywhere_keeps_nobody_out_and_fills_nothing() {
    let Some(binary) = agent_or_skip() else { return };
    let small = json!({
        "flow": { "max_flows": 16_384, "max_sources": 8_192 },
        "kernel": { "flow_capacity": 16_384 },
    });
    let mut lab = Lab::new(&binary, &small).unwrap_or_else(|error| panic!("{error:#}"));
    let attacker = lab.attacker().expect("a host");
    let length = length();
    let (target, port) = (lab.protected.v4.to_string(), PORT.to_string());
    let mut echo = python(&lab.protected, ECHO, &[&port]);
    says(&mut echo, "listening");
    let mut talk = python(&lab.client, TALK, &[&target, &port, "40000"]);
    says(&mut talk, "talking");
    let mut newcomers = python(&lab.client, NEWCOMERS, &[&target, &port]);
    says(&mut newcomers, "coming");
    let before = (resident(&lab.agent), Account::read(&lab));
    let packet = format!(
        "ipv4(saddr=drnd(167772160, 184549375), daddr={target}, ttl=64), \
         tcp(sport=drnd(1024, 65535), dport={port}, seq=drnd(), syn, win=64240)"
    );
    let start = Instant::now();
    let packets = length.rate * length.seconds;
    let stream = Stream::start(&attacker, &lab.protected, &packet, packets, Some(length.rate)).expect("trafgen");
    stream.finish().expect("sent");
    let took = start.elapsed().as_secs_f64();
    let account = Account::read(&lab).since(before.1);
    newcomers.signal("INT").expect("a signal");
    let said = newcomers.wait(Duration::from_mins(3)).expect("ends").output;
    let [served, tried, at_once] = numbers(&said, "served")[..] else {
        panic!("{said}")
    };
    talk.signal("INT").expect("a signal");
    let stood = talk.wait(SOON * 3).expect("ends");
    assert_eq!(stood.code, 0, "the connection that stood did not: {}", stood.output);
    let after = resident(&lab.agent);
    let [growth, heap] = [0, 1].map(|n| after[n] - before.0[n]);
    let active = lab.agent.active().expect("decisions");
    println!("figure: SYNs from as many forged sources = {packets} packets");
    println!(
        "figure: SYNs that came in = {:.0} packets/s",
        account.came as f64 / took
    );
    println!("figure: new connections served = {served} connections");
    println!("figure: new connections wanted = {tried} connections");
    println!("figure: of them served within a second = {at_once} connections");
    println!(
        "figure: words answered in the connection that stood = {} words",
        numbers(&stood.output, "answered")[0]
    );
    println!("figure: forged addresses blocked = {} addresses", active.len());
    let metrics = lab.agent.metrics().expect("metrics");
    let behind = metrics.sum("sentinel_events_dropped_total", &["stage=\"ring\""]);
    let full = metrics.sum("sentinel_ringbuf_lost_total", &[]);
    println!("figure: records dropped behind the ring = {behind:.0} records");
    println!("figure: records lost to a full ring = {full:.0} records");
    println!("figure: growth of the agent = {growth:.1} MiB");
    println!("figure: of it heap and stacks = {heap:.1} MiB");
    assert_eq!(active, Vec::<serde_json::Value>::new(), "blocked for what was forged");
    assert!(
        served * 100 >= tried * 99 && tried >= 20,
        "{served} of {tried} served: {said}"
    );
    assert!(growth <= GROWTH, "it grew by {growth} MiB");
    wait::until("the flood to be told of", SOON, || {
        let alerts = lab.agent.all_alerts()?;
        let mut techniques = alerts.iter().filter_map(|alert| alert["technique"].as_str());
        Ok(techniques
            .any(|technique| technique.contains("syn flood"))
            .then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}
