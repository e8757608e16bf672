//! Packets in somebody else's name: nobody who is protected, or talks with us, can be cut off by forging.

use crate::scene::{SOON, agent_or_skip};
use crate::talk::{ECHO, PORT, TALK, python, says};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use testbed::child::Child;
use testbed::forge::{Stream, Witness};
use testbed::lab::{ATTACKS, Lab};
use testbed::net::{GATEWAY, Host};
use testbed::wait;

/// Forged packets a second.
const RATE: u64 = 50_000;
/// Of each victim's.
const PACKETS: u64 = 100_000;
/// Counters that do not move for so long have come to rest.
const STILL: Duration = Duration::from_secs(5);
/// From where the conversation is had.
const FROM: u16 = 40_000;

/// SYNs, datagrams and pings of one source, in turn.
fn three(source: IpAddr, target: &Host) -> [String; 3] {
    let ip = format!("ipv4(saddr={source}, daddr={}, ttl=64)", target.v4);
    [
        format!("{ip}, tcp(sport=drnd(1024, 65535), dport=80, seq=drnd(), syn, win=64240)"),
        format!("{ip}, udp(sport=53, dport=9999), fill('x', 20)"),
        format!("{ip}, icmp4(type=8, code=0, id=7, seq=drnd()), fill('x', 20)"),
    ]
}

/// Segments on the very ports of a connection that stands.
fn within(source: &Host, target: &Host, flags: &str) -> String {
    format!(
        "ipv4(saddr={}, daddr={}, ttl=64), tcp(sport={}, dport={}, seq=drnd(), aseq=drnd(), {flags}, win=64240), \
         fill('x', 20)",
        source.v4, target.v4, FROM, PORT
    )
}

/// IPv4 packets with a verdict, as far as the programs told: once a second.
fn verdicts(lab: &Lab, action: &str) -> u64 {
    let metrics = lab.agent.metrics().expect("metrics");
    let action = format!("action=\"{action}\"");
    metrics.sum("sentinel_xdp_packets_total", &[&action, "ip_version=\"4\""]) as u64
}

/// Passed and dropped, once neither moves and what passed is `all`; where it never is, what there is, which is for the
/// caller to judge.
fn settled(lab: &Lab, all: impl Fn(u64) -> bool) -> (u64, u64) {
    let mut last = ((0, 0), Instant::now());
    let settled = wait::until("the counters to come to rest", SOON * 3, || {
        let now = (verdicts(lab, "pass"), verdicts(lab, "drop"));
        if now != last.0 {
            last = (now, Instant::now());
        }
        let still = last.1.elapsed();
        Ok((still > SOON || still > STILL && all(now.0)).then_some(now))
    });
    settled.unwrap_or_else(|error| panic!("{error:#}"))
}

/// Waits until no record is lost for want of room any more.
fn caught_up(lab: &Lab) {
    let mut last = (f64::NAN, Instant::now());
    wait::until("the agent to catch up", SOON * 6, || {
        let lost = lab
            .agent
            .metrics()?
            .sum("sentinel_events_dropped_total", &["stage=\"ring\""]);
        if lost.to_bits() != last.0.to_bits() {
            last = (lost, Instant::now());
        }
        Ok((last.1.elapsed() > Duration::from_secs(5)).then_some(()))
    })
    .expect("caught up");
}

/// Why nobody was blocked, in the agent's own words.
fn suspicion(lab: &Lab, source: IpAddr) -> String {
    let said = |decision: &Value| {
        let texts = [&decision["veto"]["reason"], &decision["reason"]];
        let mut texts = texts.into_iter().filter_map(Value::as_str);
        texts
            .find(|text| text.contains("spoofing suspected"))
            .map(str::to_owned)
    };
    // What came before it is judged before it, which takes a debug build a while.
    let found = wait::until("spoofing to be suspected", SOON * 6, || {
        Ok(lab.agent.decisions(source)?.iter().find_map(said))
    });
    found.unwrap_or_else(|error| {
        let (decisions, alerts) = (lab.agent.decisions(source), lab.agent.alerts(source));
        let metrics = lab
            .agent
            .request("GET", "/metrics", None)
            .map(|answer| answer.text)
            .unwrap_or_default();
        let of_interest = |line: &&str| {
            let names = ["reflex", "lost", "dropped", "alerts_total", "records_total"];
            !line.starts_with('#') && names.iter().any(|name| line.contains(name))
        };
        let told: Vec<&str> = metrics
            .lines()
            .filter(of_interest)
            .filter(|line| !line.ends_with(" 0"))
            .collect();
        panic!("{source}: {error:#}: {decisions:?} {alerts:?}; {told:#?}")
    })
}

/// S1, and S2: who could not be cut off by forging is blocked for what he does himself.
#[test]
fn nobody_is_cut_off_by_what_was_sent_in_his_name_and_everybody_by_what_he_did() {
    let Some(binary) = agent_or_skip() else { return };
    let mut lab = Lab::new(&binary, &json!({})).unwrap_or_else(|error| panic!("{error:#}"));
    let (forger, operator) = (lab.attacker().expect("a host"), lab.attacker().expect("a host"));
    let before = settled(&lab, |_| true);
    let witness = Witness::new(&lab.protected, &[("everything", "meta nfproto ipv4 iifname eth0")]).expect("nft");
    let (port, from) = (PORT.to_string(), FROM.to_string());
    let mut echo = python(&lab.protected, ECHO, &[&port]);
    says(&mut echo, "listening");
    let target = lab.protected.v4.to_string();
    let mut talks = [&lab.client, &operator].map(|host| {
        let mut talk = python(host, TALK, &[&target, &port, &from]);
        says(&mut talk, "talking");
        talk
    });
    // What sshd gives whom it has let in.
    let mut session = lab.protected.program("sleep", &["3600"]);
    session.env("SSH_CONNECTION", format!("{} {FROM} {target} {PORT}", operator.v4));
    let _session = Child::spawn(session).expect("sleep");
    wait::until("the operator to be seen", SOON * 3, || {
        let listed = lab.agent.cli(&["allowlist", "list"])?.output;
        Ok(listed.contains(&operator.v4.to_string()).then_some(()))
    })
    .expect("seen");

    let send = |packet: &str, packets| {
        let stream = Stream::start(&forger, &lab.protected, packet, packets, Some(RATE)).expect("trafgen");
        stream.finish().expect("sent");
    };
    let victims: [(&str, IpAddr); 4] = [
        ("gateway", GATEWAY.0.into()),
        ("resolver", "192.0.2.53".parse().expect("an address")),
        ("operator", operator.v4.into()),
        ("own", lab.protected.v4.into()),
    ];
    for (who, source) in victims {
        for packet in three(source, &lab.protected) {
            send(&packet, PACKETS / 3);
        }
        println!("{who}: {}", suspicion(&lab, source));
    }
    for flags in ["ack", "ack, psh", "rst", "fin, ack"] {
        send(&within(&lab.client, &lab.protected, flags), PACKETS / 4);
    }
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(verdicts(&lab, "drop"), before.1, "some of it was dropped");
    let active = lab.agent.active().expect("decisions");
    assert_eq!(active, Vec::<Value>::new(), "somebody paid for what was forged");

    // What opens connections in the name of one who has one: of that there may be less, and no more than that. Whoever
    // judges has caught up by then, or the kernel's word on it may be among what is lost, and counted.
    caught_up(&lab);
    send(&within(&lab.client, &lab.protected, "syn"), PACKETS);
    println!("client: {}", suspicion(&lab, lab.client.v4.into()));
    std::thread::sleep(Duration::from_secs(2));
    for decision in lab.agent.active().expect("decisions") {
        assert_eq!(decision["action"], "rate_limit", "{decision}");
    }
    for talk in &mut talks {
        talk.signal("INT").expect("a signal");
        let said = talk.wait(SOON * 3).expect("ends");
        assert_eq!(said.code, 0, "the connection did not stand: {}", said.output);
    }
    let count = || witness.count("everything").expect("count");
    let after = settled(&lab, |passed| passed - before.0 == count());
    let behind = count();
    assert_eq!(
        after.0 - before.0,
        behind,
        "what was let in got behind, and nothing else"
    );
    println!(
        "{behind} packets got in, {} that were to open connections did not",
        after.1 - before.1
    );

    let brute_force = ATTACKS
        .iter()
        .find(|attack| attack.name == "ssh brute force")
        .expect("there");
    let seen = brute_force.run(&lab, &lab.client);
    assert!(seen.ok, "{seen:?}");
    let exact = format!("{}/32", lab.client.v4);
    // The first packet was dropped; that it was told is written down after that.
    let block = wait::until("the block to be told", SOON, || {
        let ours = |action: &Value| {
            action["kind"] == "block_ip" && action["target"] == exact && action["status"] == "enforced"
        };
        Ok(lab.agent.actions()?.into_iter().find(ours))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", lab.agent.actions()));
    let at = |time: &Value| -> jiff::Timestamp { time.as_str().expect("a time").parse().expect("a time") };
    let took = at(&block["outcome_at"])
        .duration_since(at(&seen.alert["at"]))
        .as_secs_f64();
    println!(
        "figure: from evidence of his own deeds to the block, read back = {:.0} ms",
        took * 1e3
    );
}
