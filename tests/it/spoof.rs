//! Packets in somebody else's name: nobody who is protected, or talks with us, can be cut off by forging.

use crate::scene::{SOON, agent_or_skip};
use serde_json::{Value, json};
use std::net::IpAddr;
use testbed::child::Child;
use testbed::forge::{Stream, Witness};
use testbed::lab::{ATTACKS, Lab};
use testbed::net::{GATEWAY, Host};
use testbed::wait;

/// Forged packets a second.
const RATE: u64 = 50_000;
/// Of each victim's.
const PACKETS: u64 = 100_000;
/// Where the conversation is had, and from where.
const PORTS: (u16, u16) = (7000, 40_000);

/// Says back whatever it hears.
const ECHO: &str = "
import socket, sys, threading
def serve(c):
    while data := c.recv(4096): c.sendall(data)
with socket.create_server(('', int(sys.argv[1]))) as s:
    print('listening', flush=True)
    while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
";
/// Asks every 20 ms on one connection, and says how often it was answered once it is interrupted.
const TALK: &str = "
import signal, socket, sys, time
going = [True]
signal.signal(signal.SIGINT, lambda *_: going.clear())
s = socket.socket()
s.bind(('', int(sys.argv[3])))
s.connect((sys.argv[1], int(sys.argv[2])))
s.settimeout(10)
n = 0
while going:
    time.sleep(0.02)
    word = b'%08d' % n
    s.sendall(word)
    got = b''
    while len(got) < 8: got += s.recv(8 - len(got))
    assert got == word, got
    n += 1
    if n == 1: print('talking', flush=True)
print('answered', n, flush=True)
";

fn python(host: &Host, script: &str, args: &[&str]) -> Child {
    Child::spawn(host.program("python3", &[&["-c", script], args].concat())).expect("python3")
}

fn says(child: &mut Child, word: &str) {
    let said = wait::until(word, SOON, || Ok(child.output().contains(word).then_some(())));
    said.unwrap_or_else(|error| panic!("{error:#}: {}", child.output()));
}

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
        source.v4, target.v4, PORTS.1, PORTS.0
    )
}

fn passed(lab: &Lab, action: &str) -> u64 {
    let metrics = lab.agent.metrics().expect("metrics");
    let labels = [format!("action=\"{action}\""), "ip_version=\"4\"".to_owned()];
    metrics.sum("sentinel_xdp_packets_total", &labels.each_ref().map(String::as_str)) as u64
}

/// Why nobody was blocked, in the agent's own words.
fn suspicion(lab: &Lab, source: IpAddr) -> String {
    let said = |decision: &Value| {
        let texts = [&decision["veto"]["reason"], &decision["reason"]];
        let mut texts = texts.into_iter().filter_map(Value::as_str);
        texts.find(|text| text.contains("spoofing suspected")).map(str::to_owned)
    };
    let found = wait::until("spoofing to be suspected", SOON, || {
        Ok(lab.agent.decisions(source)?.iter().find_map(said))
    });
    found.unwrap_or_else(|error| panic!("{source}: {error:#}: {:?}", lab.agent.decisions(source)))
}

/// S1, and S2: the one from whom nothing could be had by forging is blocked for what he does himself.
#[test]
fn nobody_is_cut_off_by_what_was_sent_in_his_name_and_everybody_by_what_he_did() {
    let Some(binary) = agent_or_skip() else { return };
    let mut lab = Lab::new(&binary, &json!({})).unwrap_or_else(|error| panic!("{error:#}"));
    let (forger, operator) = (lab.attacker().expect("a host"), lab.attacker().expect("a host"));
    let port = PORTS.0.to_string();
    let mut echo = python(&lab.protected, ECHO, &[&port]);
    says(&mut echo, "listening");
    let target = lab.protected.v4.to_string();
    let mut talks = [&lab.client, &operator].map(|from| {
        let mut talk = python(from, TALK, &[&target, &port, &PORTS.1.to_string()]);
        says(&mut talk, "talking");
        talk
    });
    // What sshd gives whom it has let in.
    let mut session = lab.protected.program("sleep", &["600"]);
    session.env("SSH_CONNECTION", format!("{} {} {target} {port}", operator.v4, PORTS.1));
    let _session = Child::spawn(session).expect("sleep");
    wait::until("the operator to be seen", SOON * 3, || {
        let listed = lab.agent.cli(&["allowlist", "list"])?.output;
        Ok(listed.contains(&operator.v4.to_string()).then_some(()))
    })
    .expect("seen");

    let resolver: IpAddr = "192.0.2.53".parse().expect("an address");
    let victims = [
        ("gateway", GATEWAY.0.into()),
        ("resolver", resolver),
        ("operator", operator.v4.into()),
        ("own", lab.protected.v4.into()),
    ];
    let witness = Witness::new(&lab.protected, &[("all4", "meta nfproto ipv4 iifname eth0")]).expect("nft");
    let told = |lab: &Lab| {
        // The kernel's counters are told once a second: until both agree, and nothing more comes.
        let mut last = (0, 0);
        let same = wait::until("what was let in to be what got behind", SOON, || {
            let now = (passed(lab, "pass"), witness.count("all4")?);
            let rest = std::mem::replace(&mut last, now) == now;
            std::thread::sleep(std::time::Duration::from_millis(300));
            Ok(rest.then_some(now))
        });
        same.unwrap_or_else(|error| panic!("{error:#}"))
    };
    let _ = told;
    let before = (passed(&lab, "pass"), passed(&lab, "drop"), witness.count("all4").expect("count"));
    for (who, source) in victims {
        for packet in three(source, &lab.protected) {
            let stream = Stream::start(&forger, &lab.protected, &packet, PACKETS / 3, Some(RATE)).expect("trafgen");
            stream.finish().expect("sent");
        }
        println!("{who}: {}", suspicion(&lab, source));
    }
    for flags in ["ack", "ack, psh", "rst", "fin, ack"] {
        let packet = within(&lab.client, &lab.protected, flags);
        let stream = Stream::start(&forger, &lab.protected, &packet, PACKETS / 4, Some(RATE)).expect("trafgen");
        stream.finish().expect("sent");
    }
    println!("{before:?} {:?} {}", (passed(&lab, "pass"), passed(&lab, "drop")), witness.count("all4").expect("count"));
    // SYNs
    let packet = within(&lab.client, &lab.protected, "syn");
    let stream = Stream::start(&forger, &lab.protected, &packet, PACKETS, Some(RATE)).expect("trafgen");
    stream.finish().expect("sent");
    println!("{before:?} {:?} {}", (passed(&lab, "pass"), passed(&lab, "drop")), witness.count("all4").expect("count"));
    println!("client {:#?}", lab.agent.decisions(lab.client.v4.into()));
    for talk in &mut talks {
        talk.signal("INT").expect("a signal");
        println!("{}", talk.wait(SOON).expect("ends").output);
    }
    let seen = ATTACKS.iter().find(|a| a.name == "ssh brute force").expect("there").run(&lab, &lab.client);
    println!("{seen:?}");
}
