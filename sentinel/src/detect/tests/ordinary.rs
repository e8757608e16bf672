//! What looks like slow and quiet attacks and is not: nobody may be accused, not even of an oddity.

use super::{Act, GOOD, HOST};
use crate::detect::testing::{Wire, ms};
use sentinel_common::packet::{TCP_ACK, TCP_PSH, TCP_SYN};
use std::time::Duration;

const INSIDE: &str = "10.0.0.7";

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Numbers that look random, the same in every run.
fn noise(n: u16, below: u32) -> u32 {
    u32::from(n).wrapping_add(7).wrapping_mul(0x9e37_79b1).rotate_left(9) % below
}

#[test]
fn ordinary_slow_traffic_accuses_nobody() {
    let cases: [(&str, Act); 25] = [
        (
            "browsers behind one address that keep idle connections alive by an octet",
            |w| {
                for i in 0..45 {
                    w.open((GOOD, 20_000 + i), (HOST, 80));
                    w.talk((GOOD, 20_000 + i), (HOST, 80), 400, 900);
                }
                for _ in 0..6 {
                    w.wait(secs(12));
                    for i in 0..45 {
                        w.tcp((GOOD, 20_000 + i), (HOST, 80), TCP_ACK, 1);
                        w.tcp((HOST, 80), (GOOD, 20_000 + i), TCP_ACK, 0);
                    }
                }
            },
        ),
        ("devices behind one address that send and are only acknowledged", |w| {
            for i in 0..45 {
                w.open((GOOD, 20_000 + i), (HOST, 80));
                w.talk((GOOD, 20_000 + i), (HOST, 80), 400, 130);
            }
            for _ in 0..12 {
                w.wait(secs(5));
                for i in 0..45 {
                    w.tcp((GOOD, 20_000 + i), (HOST, 80), TCP_PSH | TCP_ACK, 200);
                    w.tcp((HOST, 80), (GOOD, 20_000 + i), TCP_ACK, 0);
                }
            }
        }),
        ("connections that were in use, then kept alive every ten minutes", |w| {
            for i in 0..80 {
                w.open((GOOD, 20_000 + i), (HOST, 80));
                w.talk((GOOD, 20_000 + i), (HOST, 80), 400, 900);
            }
            for _ in 0..3 {
                w.skip(secs(570));
                for i in 0..80 {
                    w.tcp((HOST, 80), (GOOD, 20_000 + i), TCP_ACK, 0);
                    w.tcp((GOOD, 20_000 + i), (HOST, 80), TCP_ACK, 0);
                    w.wait(ms(300));
                }
            }
        }),
        ("monitoring that finds seventy dead doors, again and again", |w| {
            for _ in 0..8 {
                for n in 0..70_u16 {
                    w.tcp((GOOD, 20_000 + n), (&format!("10.0.4.{n}"), 9100), TCP_SYN, 0);
                    w.wait(ms(4300));
                }
            }
        }),
        ("monitoring of a few doors, dead and alive, for hours", |w| {
            for round in 0..120_u16 {
                for n in 0..9 {
                    w.refused((GOOD, 20_000 + n), (&format!("10.0.4.{n}"), 9100));
                    w.session((GOOD, 30_000 + round), (&format!("10.0.5.{n}"), 9100), 120, 9000);
                }
                w.skip(secs(60));
            }
        }),
        ("a client that retries a dead service for hours", |w| {
            for n in 0..400 {
                w.refused((GOOD, 20_000 + n), (HOST, 5432));
                w.skip(secs(30));
            }
        }),
        ("an inside browser whose network is down", |w| {
            for n in 0..200_u16 {
                w.tcp((INSIDE, 20_000 + n), (&format!("203.0.113.{n}"), 443), TCP_SYN, 0);
                w.skip(secs(30));
            }
        }),
        ("a peer-to-peer client inside, most of whose peers are gone", |w| {
            for n in 0..300_u16 {
                let peer = format!("203.0.{}.{}", n / 100, n % 100);
                w.udp((INSIDE, 6881), (&peer, 6881 + n), 100);
                if n % 4 == 0 {
                    w.session((INSIDE, 20_000 + n), (&peer, 6881), 300, 3000);
                } else {
                    w.tcp((INSIDE, 20_000 + n), (&peer, 6881), TCP_SYN, 0);
                }
                w.skip(secs(20));
            }
        }),
        ("people at a bastion, some with wrong passwords", |w| {
            for n in 0..120_u16 {
                let user = format!("203.0.113.{}", n % 60);
                let (sent, got) = if n % 3 == 0 { (1800, 2200) } else { (9000, 40_000) };
                w.session((&user, 20_000 + n), (HOST, 22), sent, got);
                w.wait(secs(4));
            }
        }),
        ("one address with a wrong password, retried all day", |w| {
            for n in 0..300 {
                w.session((GOOD, 20_000 + n), (HOST, 22), 1800, 2200);
                w.skip(secs(20));
            }
        }),
        ("a poller without jitter", |w| {
            for n in 0..60 {
                w.session(
                    (GOOD, 20_000 + n),
                    (HOST, 443),
                    if n % 20 == 9 { 9000 } else { 500 },
                    800,
                );
                w.wait(secs(10));
            }
        }),
        ("an update check with jitter that never uploads", |w| {
            for n in 0..40_u16 {
                w.session((INSIDE, 20_000 + n), (GOOD, 443), 500, 800);
                w.skip(secs(50 + u64::from(noise(n, 20))));
            }
        }),
        (
            "a jittered poll of a server that a backup goes to each quarter of an hour",
            |w| {
                for n in 0..60_u16 {
                    let sent = if n % 18 == 7 { 3_000_000 } else { 500 };
                    w.session((INSIDE, 20_000 + n), (GOOD, 443), sent, 800);
                    w.skip(secs(40 + u64::from(noise(n, 20))));
                }
            },
        ),
        ("a package mirror asked now and then", |w| {
            for n in 0..40_u16 {
                w.session(
                    (INSIDE, 20_000 + n),
                    (GOOD, 80),
                    300 + noise(n, 400),
                    40_000 + noise(n, 900_000),
                );
                w.skip(secs(20 + u64::from(noise(n, 9))));
            }
        }),
        ("NTP of many clients and servers", |w| {
            for n in 0..200_u16 {
                w.ask((INSIDE, 123), (&format!("203.0.113.{}", n % 4), 123), 48, 48);
                w.ask((&format!("203.0.113.{}", 10 + n % 90), 40_000), (HOST, 123), 48, 48);
                w.wait(secs(8));
            }
        }),
        ("keep-alive SSH", |w| {
            w.open((GOOD, 20_000), (HOST, 22));
            for _ in 0..300 {
                w.talk((GOOD, 20_000), (HOST, 22), 52, 52);
                w.wait(secs(15));
            }
        }),
        ("a burst of DNS queries, with IPv6 reverse names and cookies", |w| {
            for n in 0..1500_u16 {
                w.ask((GOOD, 20_000 + n), (HOST, 53), 113, 200);
                w.wait(ms(10));
            }
            for n in 0..19 {
                w.ask((GOOD, 40_000 + n), (HOST, 53), 200, 300);
            }
        }),
        ("a resolver whose answers are large", |w| {
            for n in 0..1000_u16 {
                w.ask((HOST, 20_000 + n), (GOOD, 53), 60, 1200);
                w.ask((GOOD, 20_000 + n), (HOST, 53), 60, 300 + noise(n, 500));
                w.wait(ms(20));
            }
        }),
        ("large pings, for long, some lost", |w| {
            for n in 0..600_u32 {
                w.ping(GOOD, HOST, 1400);
                if n % 10 > 0 {
                    w.pong(HOST, GOOD, 1400);
                }
                w.wait(secs(1));
            }
        }),
        ("a search for the path MTU", |w| {
            for n in 0..24_u32 {
                w.ping(INSIDE, GOOD, 1472 - 8 * (n / 2));
                w.pong(GOOD, INSIDE, 1472 - 8 * (n / 2));
                w.wait(ms(200));
            }
        }),
        ("answers that we asked for, from many servers", |w| {
            for n in 0..1000_u16 {
                w.ask((INSIDE, 20_000 + n), (&format!("203.0.113.{}", n % 50), 53), 60, 1400);
                w.wait(ms(5));
            }
        }),
        ("a pool of idle connections, kept alive by the server", |w| {
            for n in 0..200 {
                w.open((GOOD, 20_000 + n), (HOST, 80));
                w.talk((GOOD, 20_000 + n), (HOST, 80), 300, 5000);
            }
            for _ in 0..8 {
                w.wait(secs(15));
                for n in 0..200 {
                    w.tcp((HOST, 80), (GOOD, 20_000 + n), TCP_ACK, 0);
                    w.tcp((GOOD, 20_000 + n), (HOST, 80), TCP_ACK, 0);
                }
            }
        }),
        ("many long polls behind one address", |w| {
            for _ in 0..4 {
                for n in 0..120 {
                    w.open((GOOD, 20_000 + n), (HOST, 443));
                    w.tcp((GOOD, 20_000 + n), (HOST, 443), TCP_PSH | TCP_ACK, 600);
                }
                w.wait(secs(30));
                for n in 0..120 {
                    w.tcp((HOST, 443), (GOOD, 20_000 + n), TCP_PSH | TCP_ACK, 200);
                    w.close((GOOD, 20_000 + n), (HOST, 443));
                }
                w.wait(secs(2));
            }
        }),
        ("web sockets with a ping now and then", |w| {
            for n in 0..100 {
                w.open((GOOD, 20_000 + n), (HOST, 443));
                w.talk((GOOD, 20_000 + n), (HOST, 443), 500, 4000);
            }
            for _ in 0..6 {
                w.wait(secs(25));
                for n in 0..100 {
                    w.talk((GOOD, 20_000 + n), (HOST, 443), 6, 6);
                }
            }
        }),
        ("sixty uploads at once, and slow ones", |w| {
            for n in 0..60 {
                w.open((GOOD, 20_000 + n), (HOST, 443));
                w.talk((GOOD, 20_000 + n), (HOST, 443), 500, 4000);
            }
            for _ in 0..60 {
                for n in 0..60 {
                    w.tcp((GOOD, 20_000 + n), (HOST, 443), TCP_ACK, 1400);
                    w.tcp((HOST, 443), (GOOD, 20_000 + n), TCP_ACK, 0);
                }
                w.wait(ms(500));
            }
        }),
    ];
    for (who, act) in cases {
        let mut wire = Wire::new();
        act(&mut wire);
        wire.wait(ms(1500));
        assert_eq!(wire.accusations(), Vec::<String>::new(), "{who}");
    }
}
