//! Those who mean well, among them such as look as if they did not: the hard negatives.

use super::rng::Rng;
use crate::child::Child;
use crate::interrupt;
use crate::net::Host;
use anyhow::Result;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Whatever takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
/// Where clients serve what the protected host fetches.
pub(super) const UPDATES: u16 = 8000;

/// Something a client does over and over.
struct Habit {
    name: &'static str,
    /// `{from}` is the client's address, `{to}` the server's.
    lines: &'static [&'static str],
}

const fn habit(name: &'static str, lines: &'static [&'static str]) -> Habit {
    Habit { name, lines }
}

const HABITS: &[Habit] = &[
    habit(
        "browsing",
        &[
            "curl -s --interface {from} -o /dev/null http://{to}/file http://{to}/page",
            "curl -s --interface {from} -o /dev/null http://{to}/file",
            "curl -s -I --interface {from} -o /dev/null http://{to}/page[1-3]",
        ],
    ),
    habit(
        "slow download",
        &["curl -s --interface {from} -m 15 --limit-rate 40k -o /dev/null http://{to}/file"],
    ),
    habit(
        "polling",
        &["curl -s -I --interface {from} --rate 1/s -o /dev/null http://{to}/page[1-8]"],
    ),
    habit("probe of services", &["nmap -n -Pn -sT -p22,53,80,443 {to}"]),
    habit(
        "closed port",
        &[
            "curl -s --interface {from} -m 3 http://{to}:8443/",
            "curl -s --interface {from} -m 8 --retry 4 --retry-delay 1 --retry-connrefused http://{to}:8081/",
        ],
    ),
    habit(
        "wrong password",
        &[
            "ssh -b {from} -l clerk -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o NumberOfPasswordPrompts=2 {to} true",
            "curl -s --interface {from} -o /dev/null -u admin:typo http://{to}/admin/",
        ],
    ),
    habit("ping", &["ping -q -I {from} -c 5 -i 0.5 -W 1 {to}"]),
    habit(
        "names",
        &[
            "dig @{to} -b {from} +short +tries=1 +time=2 www.lab.test",
            "dig @{to} -b {from} +short +tries=1 +time=2 a.lab.test b.lab.test c.lab.test d.lab.test e.lab.test f.lab.test",
        ],
    ),
    habit(
        "bulk",
        &[
            "iperf3 -c {to} -B {from} -t 2 -b 8M --connect-timeout 2000",
            "iperf3 -c {to} -B {from} -t 2 -b 8M -R --connect-timeout 2000",
        ],
    ),
];

/// Everybody at work until told to stop.
pub(super) struct Crowd {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Done>>,
}

/// How often each habit came to its end.
pub(super) type Done = BTreeMap<&'static str, u64>;

/// Where a worker is and what it does there.
struct Worker {
    host: Host,
    from: Ipv4Addr,
    to: Ipv4Addr,
    ask: String,
    rng: Rng,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    /// A worker for each address of `clients`, and two of the server's own: one polls, one fetches now and then.
    pub(super) fn start(clients: &[(Host, Vec<Ipv4Addr>)], server: &Host, ask: &Path, seed: u64) -> Result<Self> {
        let mut crowd = Self {
            stop: Arc::new(AtomicBool::new(false)),
            workers: Vec::new(),
        };
        let mut rng = Rng::new(seed);
        for (host, addresses) in clients {
            for from in addresses {
                let worker = crowd.worker(host, *from, server.v4, ask, &mut rng);
                crowd.spawn(move || worker.live())?;
            }
        }
        for ((host, _), regular) in clients.iter().zip([true, false]) {
            let worker = crowd.worker(server, server.v4, host.v4, ask, &mut rng);
            crowd.spawn(move || worker.fetch(regular))?;
        }
        Ok(crowd)
    }

    fn worker(&self, host: &Host, from: Ipv4Addr, to: Ipv4Addr, ask: &Path, rng: &mut Rng) -> Worker {
        Worker {
            host: host.clone(),
            from,
            to,
            ask: ask.display().to_string(),
            rng: Rng::new(rng.next()),
            stop: Arc::clone(&self.stop),
        }
    }

    fn spawn(&mut self, work: impl FnOnce() -> Done + Send + 'static) -> Result<()> {
        self.workers
            .push(std::thread::Builder::new().name("crowd".into()).spawn(work)?);
        Ok(())
    }

    /// Ends everybody; returns what they did.
    pub(super) fn finish(mut self) -> Done {
        let mut all = Done::new();
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            for (name, times) in worker.join().unwrap_or_default() {
                *all.entry(name).or_default() += times;
            }
        }
        all
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Worker {
    fn live(mut self) -> Done {
        let mut done = Done::new();
        let mut habits: Vec<&Habit> = HABITS.iter().collect();
        while !self.over() {
            self.rng.shuffle(&mut habits);
            for habit in &habits {
                let line = self.rng.one(habit.lines);
                if self.run(line) {
                    *done.entry(habit.name).or_default() += 1;
                }
                let pause = self.rng.within(200..=3000);
                self.pause(pause);
            }
        }
        done
    }

    /// The server asks a host that means well: every 3 s, or as it comes.
    fn fetch(mut self, regular: bool) -> Done {
        let name = if regular { "server polls" } else { "server fetches" };
        let mut done = Done::new();
        while !self.over() {
            if self.run("curl -s -m 5 -o /dev/null http://{to}:{updates}/file") {
                *done.entry(name).or_default() += 1;
            }
            let pause = if regular { 3000 } else { self.rng.within(500..=8000) };
            self.pause(pause);
        }
        done
    }

    fn over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || interrupt::wanted()
    }

    /// Runs a line to its end, whatever that is: much here is meant to be refused. False where it did not end by itself.
    fn run(&self, line: &str) -> bool {
        if self.over() {
            return false;
        }
        let line = line
            .replace("{from}", &self.from.to_string())
            .replace("{to}", &self.to.to_string())
            .replace("{updates}", &UPDATES.to_string());
        let mut command = self.host.command(&line);
        command
            .env("SSH_ASKPASS", &self.ask)
            .env("SSH_ASKPASS_REQUIRE", "force");
        for proxy in ["http_proxy", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let Ok(mut child) = Child::spawn(command) else {
            return false;
        };
        let start = Instant::now();
        while matches!(child.ended(), Ok(None)) {
            if self.over() || start.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    fn pause(&self, ms: u64) {
        let start = Instant::now();
        while !self.over() && start.elapsed() < Duration::from_millis(ms) {
            std::thread::sleep(LOOK);
        }
    }
}
