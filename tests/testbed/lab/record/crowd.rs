//! Those who mean well, among them such as look as if they did not: the hard negatives.

use super::habit::{CHORES, Chore, HABITS, Habit, UPDATES};
use super::rng::Rng;
use crate::child::Child;
use crate::interrupt;
use crate::net::Host;
use crate::tools;
use anyhow::Result;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Whatever takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
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
    from6: Ipv6Addr,
    to: Ipv4Addr,
    to6: Ipv6Addr,
    www: String,
    /// Its pauses, in percent of what others make.
    tempo: u64,
    rng: Rng,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    /// A worker for each address of `clients`, and one of the server's own for each of its chores. `www` is the folder
    /// that servers serve.
    pub(super) fn start(clients: &[(Host, Vec<Ipv4Addr>)], server: &Host, www: &Path, seed: u64) -> Result<Self> {
        let mut crowd = Self {
            stop: Arc::new(AtomicBool::new(false)),
            workers: Vec::new(),
        };
        let mut rng = Rng::new(seed);
        // Some networks are busy, some are not.
        let tempo = rng.within(60..=300);
        for (host, addresses) in clients {
            for from in addresses {
                let worker = crowd.worker(host, *from, server, [tempo, rng.next()], www);
                crowd.spawn(move || worker.live())?;
            }
        }
        for (chore, (host, _)) in CHORES.iter().zip(clients.iter().cycle()) {
            let worker = crowd.worker(server, server.v4, host, [100, rng.next()], www);
            crowd.spawn(move || worker.attend(chore))?;
        }
        Ok(crowd)
    }

    fn worker(&self, host: &Host, from: Ipv4Addr, to: &Host, [tempo, seed]: [u64; 2], www: &Path) -> Worker {
        Worker {
            host: host.clone(),
            from,
            from6: host.v6,
            to: to.v4,
            to6: to.v6,
            www: www.display().to_string(),
            tempo,
            rng: Rng::new(seed),
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
        let able = |habit: &&Habit| habit.needs.iter().all(|need| tools::find(need).is_some());
        let mut habits: Vec<&Habit> = HABITS.iter().filter(able).collect();
        while !self.over() {
            self.rng.shuffle(&mut habits);
            for habit in &habits {
                let line = self.rng.one(habit.lines);
                if self.run(line) {
                    *done.entry(habit.name).or_default() += 1;
                }
                let pause = self.rng.within(200..=3000) * self.tempo / 100;
                self.pause(pause);
            }
        }
        done
    }

    /// The server does something with a host that means well, as regularly as the chore is.
    fn attend(mut self, chore: &Chore) -> Done {
        let mut done = Done::new();
        let [least, most] = chore.pause;
        while !self.over() {
            let line = self.rng.one(chore.lines);
            if self.run(line) {
                *done.entry(chore.name).or_default() += 1;
            }
            let pause = self.rng.within(least..=most);
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
            .replace("{from6}", &self.from6.to_string())
            .replace("{to6}", &self.to6.to_string())
            .replace("{www}", &self.www)
            .replace("{updates}", &UPDATES.to_string());
        let mut command = self.host.command(&line);
        command
            .env("SSH_ASKPASS", format!("{}/ask", self.www))
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
