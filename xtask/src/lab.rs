//! `cargo xtask lab`: the testbed's lab, built as the user and run as root.

use crate::{Consent, run, setup, shell};
use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Attacks the suite `respond` times.
const RESPOND_ROUNDS: u32 = 60;

/// Attacks the suite `outside` times, with answers in memory and without each.
const OUTSIDE_ROUNDS: u8 = 120;

/// What runs as root.
#[derive(Debug, Subcommand)]
pub(crate) enum Inside {
    /// The lab, to look at.
    Lab {
        /// The built binary.
        agent: PathBuf,
    },
    /// One scripted pass.
    Once {
        /// The built binary.
        agent: PathBuf,
        /// Where the pass goes.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// A labelled session to learn from.
    Record {
        /// The folder it becomes.
        dir: PathBuf,
        /// How long it may take.
        minutes: u64,
        /// What order, lines and addresses follow from.
        seed: u64,
        /// Families of attacks; all of them where none is named.
        families: Vec<String>,
    },
    /// The live half of the suite `pipeline`.
    Pipeline {
        /// The built binary.
        agent: PathBuf,
        /// Where the figures go.
        json: PathBuf,
    },
    /// Memory under a flood, for the suite `pipeline`.
    Flood {
        /// The built binary.
        agent: PathBuf,
        /// Where the figures go.
        json: PathBuf,
    },
    /// From evidence to first drop, many times.
    Respond {
        /// The built binary.
        agent: PathBuf,
        /// Where the figures go.
        json: PathBuf,
        /// How many attacks.
        rounds: u32,
    },
    /// The same while the world outside is slow.
    Outside {
        /// The built binary.
        agent: PathBuf,
        /// Where the figures go.
        json: PathBuf,
        /// How many attacks.
        rounds: u8,
    },
}

pub(crate) fn run(consent: Consent, once: bool, json: Option<&Path>) -> Result<()> {
    shell::can_elevate()?;
    setup::tools(consent, &[])?;
    let agent = run::build(consent, false)?;
    let mut command = match (once, json) {
        (false, _) => elevated(&["lab".as_ref(), agent.as_path()])?,
        (true, None) => elevated(&["once".as_ref(), agent.as_path()])?,
        (true, Some(file)) => elevated(&["once".as_ref(), &agent, "--json".as_ref(), &std::path::absolute(file)?])?,
    };
    // The lab takes our place: it alone answers Ctrl-C, and the shell waits until it has cleaned up.
    Err(command.exec()).context("the lab cannot be started")
}

/// `cargo xtask lab --record`: needs no agent, since nobody is to be stopped.
pub(crate) fn record(consent: Consent, dir: &Path, minutes: u64, seed: Option<u64>, families: &[String]) -> Result<()> {
    shell::can_elevate()?;
    setup::tools(consent, &[])?;
    setup::optional(consent, testbed::tools::ATTACKS, "for more attacks")?;
    let seed = match seed {
        Some(seed) => seed,
        None => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .context("the clock stands before 1970; set it")?
            .as_secs(),
    };
    let (dir, minutes, seed) = (std::path::absolute(dir)?, minutes.to_string(), seed.to_string());
    let mut command = elevated(&["record".as_ref(), dir.as_path(), minutes.as_ref(), seed.as_ref()])?;
    command.args(families);
    // The lab takes our place: it alone answers Ctrl-C, and the shell waits until it has cleaned up.
    Err(command.exec()).context("the lab cannot be started")
}

/// The suites `respond` and `outside`; the agent is built already.
pub(crate) fn respond(consent: Consent, suite: &str, json: &Path) -> Result<()> {
    setup::tools(consent, &[])?;
    let agent = shell::target()?.join("release/sentinel");
    let rounds = if suite == "outside" {
        u32::from(OUTSIDE_ROUNDS)
    } else {
        RESPOND_ROUNDS
    };
    let rounds = rounds.to_string();
    shell::run(&mut elevated(&[suite.as_ref(), &agent, json, rounds.as_ref()])?)
}

/// A live part of the suite `pipeline` (`pipeline`, `flood`); the agent is built already.
pub(crate) fn live(consent: Consent, part: &str, json: &Path) -> Result<()> {
    setup::tools(consent, &[])?;
    let agent = shell::target()?.join("release/sentinel");
    shell::run(&mut elevated(&[part.as_ref(), &agent, json])?)
}

/// Ourselves again, as root.
fn elevated(args: &[&Path]) -> Result<Command> {
    let own = std::env::current_exe().context("our own binary cannot be found")?;
    if !shell::is_root() {
        shell::step("network namespaces need root: sudo may ask for your password");
    }
    let mut command = shell::elevated(&own);
    command.arg("inside").args(args);
    Ok(command)
}

pub(crate) fn inside(inside: &Inside) -> Result<()> {
    ensure!(shell::is_root(), "network namespaces need root");
    match inside {
        Inside::Lab { agent } => testbed::lab::watch(agent),
        Inside::Once { agent, json } => testbed::lab::once(agent, json.as_deref()),
        Inside::Record {
            dir,
            minutes,
            seed,
            families,
        } => testbed::lab::recorded(&testbed::lab::Recording {
            dir: dir.clone(),
            length: std::time::Duration::from_mins(*minutes),
            seed: *seed,
            families: families.clone(),
        }),
        Inside::Pipeline { agent, json } => testbed::lab::pipeline(agent, json),
        Inside::Flood { agent, json } => testbed::lab::flood(agent, json),
        Inside::Respond { agent, json, rounds } => testbed::lab::respond(agent, json, *rounds),
        Inside::Outside { agent, json, rounds } => testbed::lab::outside(agent, json, *rounds),
    }
}
