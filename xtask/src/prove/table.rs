//! Which proofs there are.

use super::mutants;
use super::record::Figure;
use super::reproducible;
use crate::{Consent, fuzz, kernels, shell};
use anyhow::Result;
use std::process::Command;

/// Something that is shown at length.
pub(super) struct Proof {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// How many by default, of what.
    pub(super) count: u64,
    pub(super) unit: &'static str,
    pub(super) way: Way,
}

impl Proof {
    /// Whether a seed says what is done.
    pub(super) fn draws(&self) -> bool {
        match &self.way {
            Way::Test(test) => test.seed.is_some(),
            Way::Own(_) => self.name != "reproducible",
        }
    }
}

/// How it is shown.
pub(super) enum Way {
    /// A test, told by its environment.
    Test(Test),
    /// By other programs.
    Own(fn(Consent, u64, u64) -> Result<Vec<Figure>>),
}

/// A test that goes on for as long as it is told.
pub(super) struct Test {
    pub(super) package: &'static str,
    /// `--lib`, or `--test NAME`.
    pub(super) target: &'static [&'static str],
    /// Tests whose names begin so.
    pub(super) filter: &'static str,
    pub(super) release: bool,
    /// The variables that say how many and which, where anything is drawn.
    pub(super) count: &'static str,
    pub(super) seed: Option<&'static str>,
}

/// In the order of [`docs/guarantees.md`].
pub(super) const PROOFS: &[Proof] = &[
    Proof {
        name: "fuzz",
        about: "bytes of libFuzzer's choice to each of whatever reads bytes from outside",
        count: 1800,
        unit: "seconds each",
        way: Way::Own(fuzz::prove),
    },
    Proof {
        name: "parity",
        about: "hostile frames through the kernel's programs and through user space, which must agree",
        count: 1_000_000_000,
        unit: "frames",
        way: Way::Test(Test {
            package: "sentinel",
            target: &["--test", "kernel"],
            filter: "parity::the_kernel_and_user_space_agree",
            release: true,
            count: "PARITY_PACKETS",
            seed: Some("PARITY_SEED"),
        }),
    },
    Proof {
        name: "kills",
        about: "SIGKILL at any system call and at any moment, half of them with pins",
        count: 10_000,
        unit: "kills",
        way: Way::Test(Test {
            package: "sentinel-tests",
            target: &["--test", "it"],
            filter: "kills::a_kill_at_any_point",
            release: false,
            count: "AGENT_KILLS",
            seed: Some("AGENT_KILL_SEED"),
        }),
    },
    Proof {
        name: "protected",
        about: "decisions, reloads, netlink changes and commands in any order, after each of which nobody protected is cut off",
        count: 100_000,
        unit: "sequences",
        way: Way::Test(Test {
            package: "sentinel",
            target: &["--lib"],
            filter: "control::desk::tests::whatever_happens_the_owner",
            release: true,
            count: "PROTECTED_SEQUENCES",
            seed: Some("PROTECTED_SEED"),
        }),
    },
    Proof {
        name: "flood",
        about: "a blocked source and forged ones at 200,000 packets/s, beside 500 requests/s and 200 readers of the stream",
        count: 30,
        unit: "seconds",
        way: Way::Test(Test {
            package: "sentinel-tests",
            target: &["--test", "it"],
            filter: "flood::",
            release: true,
            count: "FLOOD_SECONDS",
            seed: None,
        }),
    },
    Proof {
        name: "upgrades",
        about: "agents with pins killed at any moment and followed by the next, under a flood of a blocked source",
        count: 1_000,
        unit: "upgrades",
        way: Way::Test(Test {
            package: "sentinel",
            target: &["--test", "kernel"],
            filter: "upgrades::",
            release: false,
            count: "UPGRADES",
            seed: Some("UPGRADES_SEED"),
        }),
    },
    Proof {
        name: "kills-desk",
        about: "SIGKILL at any moment of what decides and keeps, alone in a process",
        count: 10_000,
        unit: "kills",
        way: Way::Test(Test {
            package: "sentinel",
            target: &["--lib"],
            filter: "control::desk::tests::ends::a_desk_killed",
            release: false,
            count: "DESK_KILLS",
            seed: Some("DESK_KILL_SEED"),
        }),
    },
    Proof {
        name: "faults",
        about: "each call of the database failing or being the last, in turn",
        count: 1500,
        unit: "faults",
        way: Way::Test(Test {
            package: "sentinel",
            target: &["--lib"],
            filter: "control::desk::tests::ends::whichever_call",
            release: false,
            count: "DESK_FAULTS",
            seed: None,
        }),
    },
    Proof {
        name: "refusals",
        about: "questions to the kernel about the network that are refused, in turn, while the agent starts",
        count: 200,
        unit: "refusals",
        way: Way::Test(Test {
            package: "sentinel-tests",
            target: &["--test", "it"],
            filter: "refused::",
            release: false,
            count: "REFUSALS",
            seed: Some("REFUSALS_SEED"),
        }),
    },
    Proof {
        name: "power",
        about: "the power of a machine cut while the agent in it decides, on a disk with a volatile cache",
        count: 500,
        unit: "cuts",
        way: Way::Own(kernels::power::prove),
    },
    Proof {
        name: "soak",
        about: "mixed load, after which nothing is held that was not held before",
        count: 720,
        unit: "rounds of some five seconds",
        way: Way::Test(Test {
            package: "sentinel-tests",
            target: &["--test", "it"],
            filter: "soak::",
            release: false,
            count: "SOAK_ROUNDS",
            seed: None,
        }),
    },
    Proof {
        name: "mutants",
        about: "code broken in one place at a time, which the tests must find",
        count: 40,
        unit: "places of each room",
        way: Way::Own(mutants::prove),
    },
    Proof {
        name: "reproducible",
        about: "one commit, built in different places, which must be the same bytes",
        count: 2,
        unit: "release builds",
        way: Way::Own(reproducible::prove),
    },
];

/// The test as cargo runs it.
pub(super) fn command(test: &Test, count: u64, seed: u64) -> Result<Command> {
    let mut command = shell::cargo(["test", "--locked", "--package", test.package])?;
    command.args(test.target);
    if test.release {
        command.arg("--release");
    }
    command.args(["--", "--nocapture", "--test-threads=1", test.filter]);
    command.env("TESTBED_REQUIRE", "1");
    command.env(test.count, count.to_string());
    if let Some(name) = test.seed {
        command.env(name, seed.to_string());
    }
    Ok(command)
}
