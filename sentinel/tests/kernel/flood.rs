//! Floods over a real link: of forged SYNs, at a real server with a short queue and clients that want in meanwhile; and
//! of a source that is blocked.

use super::cookies::{flooded, set_syncookies};
use super::loss::{self, EACH_ANOTHER, Witness, quiet_pair, received, tools, verdicts};
use super::pair::{Ending, Pair, block, ip};
use super::reflex::drain;
use super::*;
use sentinel::config::Switch;
use sentinel::kernel::Record;
use sentinel::kernel::testrun::Floor;
use sentinel::respond::Enforcer;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// SYNs a second, and in all.
const RATE: u32 = 20_000;
const SYNS: u32 = 80_000;
/// Between two newcomers.
const EVERY: Duration = Duration::from_millis(30);
/// How long a client waits for each thing it wants: long enough for some SYNs lost on the crowded link and sent again.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same where there is no hope: nobody is to wait until the flood is over.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// What came of one flood.
#[derive(Debug)]
struct Outcome {
    tried: u32,
    served: u32,
    /// The connection that stood before went on.
    stood: bool,
    counters: [u64; COUNTERS],
    records: Vec<Record>,
}

impl Outcome {
    fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }
}

fn address(ns: &str) -> String {
    let path = "/sys/class/net/veth0/address";
    let out = Command::new("ip")
        .args(["netns", "exec", ns, "cat", path])
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// A generator of forged SYNs, ended with the test.
struct Forger {
    child: Child,
    config: PathBuf,
}

impl Forger {
    fn start(pair: &Pair, v6: bool) -> Self {
        let (to, from) = (address(&pair.near), address(&pair.far));
        let network = if v6 {
            "ipv6(saddr=drnd(), daddr=fd99::1, hoplimit=64)"
        } else {
            "ipv4(saddr=drnd(), daddr=10.99.0.1, ttl=64)"
        };
        let text = format!(
            "{{ eth(da={to}, sa={from}), {network}, tcp(sport=drnd(), dport=8099, seq=drnd(), syn, window=64240) }}\n"
        );
        let config = std::env::temp_dir().join(format!("{}.trafgen", pair.far));
        std::fs::write(&config, text).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", &pair.far, "trafgen", "--dev", "veth0", "--cpus", "1"])
            .args(["--num", &SYNS.to_string(), "--rate", &format!("{RATE}pps"), "--conf"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, config }
    }

    fn over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

/// Connects, asks, is answered.
fn served(to: SocketAddr, patience: Duration) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    ask(&mut stream)
}

fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"hello")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"olleh");
    Ok(())
}

/// Answers each connection's words backwards, on a thread each, until told to end.
fn serve(listener: &TcpListener, end: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    std::thread::scope(|scope| {
        while !end.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            scope.spawn(move || {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                let mut words = [0; 5];
                while !end.load(Ordering::Relaxed) {
                    match stream.read_exact(&mut words) {
                        Ok(()) => {
                            words.reverse();
                            if stream.write_all(&words).is_err() {
                                return;
                            }
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(_) => return,
                    }
                }
            });
        }
    });
}

async fn flood(enabled: Switch, syncookies: u8, v6: bool) -> Option<Outcome> {
    let base = flooded(vec![]);
    let config = KernelConfig {
        reflex: Config::default().kernel.reflex,
        syn_cookies: SynCookieConfig {
            enabled,
            half_open: 1_000,
            ..base.syn_cookies
        },
        ring_bytes: 1 << 24,
        ..base
    };
    let mut kernel = kernel(&config, Mode::Production)?;
    let pair = Pair::new();
    ip(&format!("-n {} route add default via 10.99.0.2", pair.near));
    ip(&format!("-n {} -6 route add default via fd99::2", pair.near));
    set_syncookies(&pair.near, syncookies);
    let far_end = pass_on(&pair);
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    let to: SocketAddr = if v6 { "[fd99::1]:8099" } else { "10.99.0.1:8099" }.parse().unwrap();
    let listener = Pair::inside(&pair.near, || TcpListener::bind(to).unwrap());
    let end = AtomicBool::new(false);
    let patience = if syncookies == 0 { IMPATIENCE } else { PATIENCE };
    let (tried, served, stood) = std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, &end));
        let _end = Ending(&end);
        Pair::inside(&pair.far, || {
            let mut standing = TcpStream::connect(to).unwrap();
            standing.set_read_timeout(Some(PATIENCE)).unwrap();
            ask(&mut standing).unwrap();
            let begun = received(&pair);
            let mut forger = Forger::start(&pair, v6);
            eventually("the flood to begin", || received(&pair) > begun + 1_000);
            newcomers(&mut forger, standing, || served(to, patience).is_ok())
        })
    });
    drop(far_end);
    let counters = kernel.counters().read().unwrap().0[0].counters;
    let records = drain(kernel.ring()).await;
    Some(Outcome {
        tried,
        served,
        stood,
        counters,
        records,
    })
}

/// While the flood goes on, lets newcomers come, each by itself, and goes on with a connection that stands: how many
/// came, how many were served, and whether it stood. Threads begin in the namespace of the one that begins them.
fn newcomers(forger: &mut Forger, mut standing: TcpStream, come: impl Fn() -> bool + Sync) -> (u32, u32, bool) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stands = scope.spawn(|| {
            let mut stood = true;
            while stood && !over.load(Ordering::Relaxed) {
                stood = ask(&mut standing).is_ok();
                std::thread::sleep(Duration::from_millis(10));
            }
            stood
        });
        let ending = Ending(&over);
        let (start, mut all) = (Instant::now(), Vec::new());
        while !forger.over() {
            assert!(start.elapsed() < Duration::from_mins(5), "the flood does not end");
            all.push(scope.spawn(&come));
            std::thread::sleep(EVERY);
        }
        drop(ending);
        let won: Vec<bool> = all.into_iter().map(|one| one.join().unwrap()).collect();
        let served = won.iter().map(|won| u32::from(*won)).sum();
        (won.len() as u32, served, stands.join().unwrap())
    })
}

/// A veth hands answers from XDP to the other end only where that takes them as such: with a program of its own.
pub(crate) fn pass_on(pair: &Pair) -> Floor {
    Pair::inside(&pair.far, || Floor::attach("veth0")).unwrap()
}

/// The flood is told of, and whether it is answered; once, but where the generator was kept from it for seconds: then it
/// is over, and begins anew. CPUs that meet at a turn may both tell of it.
#[track_caller]
fn assert_told(outcome: &Outcome, answered: u8, shown: &str) {
    let of_ports = outcome.records.iter().filter_map(|record| match record {
        Record::SynFlood(one) => Some((one.port, one.under_flood, one.answered)),
        _ => None,
    });
    let mut told: Vec<_> = of_ports.collect();
    told.dedup();
    let due: Vec<_> = (0..told.len().max(1))
        .map(|turn| (8099, u8::from(turn % 2 == 0), answered))
        .collect();
    assert_eq!(told, due, "{shown}");
}

#[tokio::test]
async fn clients_connect_while_forged_syns_flood_the_port() {
    if Command::new("trafgen").arg("--version").output().is_err() {
        skip("needs trafgen (netsniff-ng)");
        return;
    }
    for (syncookies, v6) in [(2, false), (1, false), (2, true)] {
        let Some(with) = flood(Switch::On, syncookies, v6).await else {
            return;
        };
        let shown = format!(
            "tcp_syncookies {syncookies}, IPv{}: {} of {} served; answered {}, valid {}, invalid {}; passed {}",
            if v6 { 6 } else { 4 },
            with.served,
            with.tried,
            with.get(Counter::AnswerV4) + with.get(Counter::AnswerV6),
            with.get(Counter::CookieValid),
            with.get(Counter::CookieInvalid),
            with.get(Counter::PassV4) + with.get(Counter::PassV6),
        );
        println!("{shown}");
        assert!(with.tried >= 20 && with.served * 100 >= with.tried * 99, "{shown}");
        assert!(with.stood, "{shown}");
        assert_told(&with, 1, &shown);
        let answered = with.get(if v6 { Counter::AnswerV6 } else { Counter::AnswerV4 });
        // A veth whose receiver is not given time loses some before they come in.
        assert!(answered > u64::from(SYNS) / 4, "{shown}");
        assert!(with.get(Counter::CookieValid) > u64::from(with.tried) / 2, "{shown}");
        // Nobody forged is limited, nor anybody else.
        assert_eq!(
            with.get(Counter::DropReflex) + with.get(Counter::ReflexRaised),
            0,
            "{shown}"
        );
    }
    // Left to itself the agent answers nothing on a veth: it cannot know of the other end.
    let auto = flood(Switch::Auto, 2, false).await.unwrap();
    assert_eq!(auto.get(Counter::AnswerV4), 0);
    assert_told(&auto, 0, "left to itself");
    assert!(
        auto.served * 100 >= auto.tried * 99,
        "the stack's own cookies serve {} of {}",
        auto.served,
        auto.tried
    );
    let without = flood(Switch::Off, 0, false).await.unwrap();
    let shown = format!("without cookies: {} of {} served", without.served, without.tried);
    println!("{shown}");
    assert!(without.served * 2 < without.tried, "{shown}: the flood is none");
    assert_told(&without, 0, &shown);
    assert!(without.stood, "{shown}");
}

/// L1: a blocked source floods as fast as this machine can, for `FLOOD_SECONDS` or three.
#[test]
fn nothing_of_a_blocked_source_gets_behind_the_gate_however_long_it_floods() {
    const PORTION: u64 = 100_000;
    if !tools(&["trafgen", "nft"]) {
        return;
    }
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let seconds = std::env::var("FLOOD_SECONDS").ok().and_then(|text| text.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(3));
    let pair = quiet_pair();
    let witness = Witness::new(&pair.near);
    let net = "192.0.2.7/32".parse().unwrap();
    kernel.blocks().put_block(net, &block()).unwrap();
    let begun = received(&pair);
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    loss::flood(&pair, "198.51.100.7", "7", 1_000);
    assert!(witness.count("other") > 0, "the witness sees nothing");
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < duration {
        loss::flood(&pair, "192.0.2.7", EACH_ANOTHER, PORTION);
        sent += PORTION;
    }
    let took = start.elapsed();
    let mut came = 0;
    eventually("no more to come in, and all that came to be judged", || {
        let now = received(&pair) - begun;
        let judged = verdicts(&kernel);
        std::thread::sleep(Duration::from_secs(1));
        std::mem::replace(&mut came, now) == now && judged == now
    });
    assert_eq!(witness.count("listed"), 0, "of {sent}");
    let dropped = loss::count(&kernel, Counter::DropExact);
    println!(
        "{sent} sent in {took:.1?}, {dropped} came in and were dropped: {:.0} a second",
        dropped as f64 / took.as_secs_f64()
    );
    // A veth whose receiver is not given time loses some before they come in.
    assert!(dropped <= sent && dropped > sent / 4, "{dropped} of {sent}");
    assert_eq!(kernel.blocks().get_block(net).unwrap().unwrap().hits, dropped);
    assert_eq!(loss::count(&kernel, Counter::DropV4), dropped);
    assert_eq!(dropped + witness.count("other"), came, "dropped, or behind the gate");
    assert_eq!(verdicts(&kernel), came);
}
