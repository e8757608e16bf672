//! Which proofs there are.

use super::record::Figure;
use crate::{Consent, fuzz, shell};
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
    /// The variables that say how many and which.
    pub(super) count: &'static str,
    pub(super) seed: &'static str,
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
            seed: "PARITY_SEED",
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
            seed: "AGENT_KILL_SEED",
        }),
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
    command
        .env(test.count, count.to_string())
        .env(test.seed, seed.to_string());
    Ok(command)
}
