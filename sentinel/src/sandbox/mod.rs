//! What the running agent may still do: once everything is attached, each of its threads keeps only what it needs.
//!
//! In: the places and ports that the settings name ([`Reach`]). Out: threads without capabilities, that see only those
//! places (Landlock), connect only to those ports, and make only the system calls an agent makes (seccomp); and a word for
//! `/health` of what this kernel could not do of it. Invariant: nothing is taken back, by nobody, for as long as the process
//! lives. What it refuses is an error of that call (`EACCES`, `EPERM`), never the end of the process. Deliberately elsewhere:
//! what the settings need (`app/reach`), when a thread is through with what takes privileges (`app`).
//!
//! Two threads differ. `guard` attaches programs again to interfaces that come back, and keeps the capabilities for that;
//! `sessions` reads in other processes' environments who is logged in over SSH, and can do nothing but read. All share
//! one memory: whoever runs code of his own in one has what all have together. Against bugs of logic, and to keep such code
//! from going further, from a shell to other processes, these are walls.

mod calls;
mod capabilities;
mod paths;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use capabilities::Keeps;

/// What the settings need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Files and directories that are read, beside those every program reads.
    pub read: BTreeSet<PathBuf>,
    /// Directories in which files are written, renamed and removed.
    pub write: BTreeSet<PathBuf>,
    /// TCP ports that are connected to; `None` where they cannot be known before (a Redis cluster names its nodes itself).
    pub connect: Option<BTreeSet<u16>>,
    /// Files and sockets of `read` and beside it that must be reached as the user one is.
    pub files: BTreeSet<PathBuf>,
    /// The program that is run: `nft`.
    pub run: Option<PathBuf>,
}

impl Reach {
    /// What is needed here and not there.
    #[must_use]
    pub fn beyond(mut self, there: &Self) -> Self {
        self.read.retain(|path| !there.read.contains(path));
        self.write.retain(|path| !there.write.contains(path));
        if let (Some(ports), Some(known)) = (&mut self.connect, &there.connect) {
            ports.retain(|port| !known.contains(port));
        }
        if self.connect == there.connect {
            self.connect = Some(BTreeSet::new());
        }
        self.run = self.run.filter(|_| there.run.is_none());
        self
    }

    /// Whether what `other` needs is had as well.
    pub fn covers(&self, other: &Self) -> bool {
        let under = |path: &PathBuf, roots: &BTreeSet<PathBuf>| roots.iter().any(|root| path.starts_with(root));
        let connects = match (&self.connect, &other.connect) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(had), Some(wanted)) => wanted.is_subset(had),
        };
        let reads = |path| under(path, &self.read) || under(path, &self.write);
        connects
            && (other.run.is_none() || self.run == other.run)
            && other.read.iter().all(reads)
            && other.write.iter().all(|path| under(path, &self.write))
    }
}

/// What one thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Everything but what follows.
    Worker,
    /// Attaches.
    Guard,
    /// Reads who is logged in.
    Reader,
}

/// What is taken from threads.
#[derive(Clone)]
pub struct Sandbox {
    plan: Option<Arc<Plan>>,
}

struct Plan {
    reach: Reach,
    keeps: Keeps,
    landlock: landlock::RulesetCreated,
    /// How much of the rules this kernel holds threads to.
    ruled: AtomicU8,
    calls: calls::Filters,
    /// What was refused; shared by all threads, said once.
    failed: Mutex<BTreeSet<String>>,
}

impl Sandbox {
    /// Takes nothing from anybody.
    pub const fn none() -> Self {
        Self { plan: None }
    }

    /// For what the settings need, on this kernel. Nothing is taken yet.
    ///
    /// # Errors
    /// Where the filters cannot be made, which no kernel is the cause of.
    pub fn new(reach: Reach, keeps: Keeps) -> anyhow::Result<Self> {
        let plan = Plan {
            keeps: keeps.with_files(&reach),
            landlock: paths::rules(&reach)?,
            ruled: AtomicU8::new(paths::WHOLLY),
            calls: calls::Filters::new(reach.run.is_some())?,
            failed: Mutex::default(),
            reach,
        };
        Ok(Self {
            plan: Some(Arc::new(plan)),
        })
    }

    /// Whether what other settings need is had as well.
    pub fn covers(&self, reach: &Reach) -> bool {
        self.plan.as_ref().is_none_or(|plan| plan.reach.covers(reach))
    }

    /// Confines the calling thread, and those it begins.
    pub fn confine(&self) {
        self.take(Part::Worker);
    }

    /// The same, but for what attaching takes.
    pub fn confine_guard(&self) {
        self.take(Part::Guard);
    }

    /// Leaves the calling thread nothing but to read.
    pub fn confine_reader(&self) {
        self.take(Part::Reader);
    }

    fn take(&self, part: Part) {
        let Some(plan) = &self.plan else { return };
        if calls::in_force() {
            return;
        }
        let steps = [
            ("core dumps", dumps()),
            ("capabilities", plan.keeps.apply(part)),
            ("Landlock", plan.rule(part)),
            ("seccomp", plan.calls.apply(part)),
        ];
        for (step, outcome) in steps {
            if let Err(error) = outcome {
                let mut failed = plan.failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.insert(format!("{step}: {error:#}")) {
                    tracing::error!(step, error = %format_args!("{error:#}"), "a thread keeps rights it does not need");
                }
            }
        }
    }

    /// What is in force, in a sentence.
    ///
    /// # Errors
    /// What of it was refused.
    pub fn told(&self) -> Result<String, String> {
        let Some(plan) = &self.plan else {
            return Ok("off (`sandbox.enabled: false`)".to_owned());
        };
        let failed = plan.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if !failed.is_empty() {
            return Err(failed.iter().cloned().collect::<Vec<_>>().join("; "));
        }
        let landlock = match plan.ruled.load(Ordering::Relaxed) {
            paths::WHOLLY => "Landlock and seccomp in force",
            paths::IN_PART => "Landlock in part (connections are limited from Linux 6.7 on) and seccomp in force",
            _ => {
                "seccomp in force; Landlock is not to be had here: it came with Linux 5.13, and `lsm=` may leave it out"
            }
        };
        Ok(format!("{}, {landlock}", plan.keeps))
    }
}

impl Plan {
    /// Whoever reads looks into other processes, which no rule allows.
    fn rule(&self, part: Part) -> anyhow::Result<()> {
        if part != Part::Reader {
            self.ruled.fetch_min(paths::apply(&self.landlock)?, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// No memory of ours, with its secrets, is ever written to a file, nor read by other processes of the same user.
fn dumps() -> anyhow::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

#[cfg(test)]
mod tests;
