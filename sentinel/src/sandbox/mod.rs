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
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Whether programs are run: `nft`.
    pub run: bool,
}

impl Reach {
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
            && (self.run || !other.run)
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
    /// This kernel has no Landlock.
    unruled: AtomicBool,
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
            unruled: AtomicBool::new(false),
            calls: calls::Filters::new(reach.run)?,
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
                failed.insert(format!("{step}: {error:#}"));
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
        let landlock = if plan.unruled.load(Ordering::Relaxed) {
            "seccomp in force; this kernel has no Landlock, or does not switch it on (`lsm=`)"
        } else {
            "Landlock and seccomp in force"
        };
        Ok(format!("{}, {landlock}", plan.keeps))
    }
}

impl Plan {
    /// Whoever reads looks into other processes, which no rule allows.
    fn rule(&self, part: Part) -> anyhow::Result<()> {
        if part != Part::Reader && !paths::apply(&self.landlock)? {
            self.unruled.store(true, Ordering::Relaxed);
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
