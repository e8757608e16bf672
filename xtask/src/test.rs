//! `cargo xtask test`: everything that proves the project, and what was left out and why.

use crate::{Consent, deb, fuzz, kernels, lint, run, setup, shell, supply, tidy};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

pub(crate) fn run(consent: Consent, quick: bool) -> Result<()> {
    setup::compiler(consent)?;
    if !quick {
        shell::can_elevate()?;
    }
    lint::format()?;
    lint::clippy()?;
    shell::step("tidy");
    tidy::run()?;
    let skipped = if quick { quick_tests()? } else { all_tests(consent)? };
    if !skipped.is_empty() {
        println!("\nskipped:");
        for line in skipped {
            println!("  {line}");
        }
    }
    Ok(())
}

/// What needs neither root nor servers.
fn quick_tests() -> Result<Vec<String>> {
    shell::step("unit, property and replay tests");
    let packages = ["sentinel-common", "sentinel", "xtask"].map(|name| format!("--package={name}"));
    let mut tests = shell::cargo(["test", "--locked", "--no-fail-fast"])?;
    tests.args(packages).env("TESTBED_SKIP", "--quick");
    let mut skipped = watch(&mut tests)?;
    skipped.push("kernel programs, network namespaces, real tools: --quick leaves them out".to_owned());
    skipped.extend(supply::check_if_there()?);
    Ok(skipped)
}

fn all_tests(consent: Consent) -> Result<Vec<String>> {
    setup::tools_of_tests(consent)?;
    deb::packer_or_not(consent);
    supply::check(consent)?;
    let mut skipped = suite(consent)?;
    fuzz::briefly()?;
    skipped.extend(old_kernels(consent)?);
    skipped.extend(power_cuts(consent)?);
    Ok(skipped)
}

/// Kernels of releases that are still in use, by series. The others there are: `cargo xtask test-kernels`.
const OLD_KERNELS: [&str; 2] = ["5.10", "6.1"];

/// The kernel programs on old kernels, where those can be had. They are downloaded once.
fn old_kernels(consent: Consent) -> Result<Option<String>> {
    if let Some(why) = kernels::unavailable(consent) {
        return Ok(Some(format!(
            "the kernel programs on Linux {}: {why}",
            OLD_KERNELS.join(" and ")
        )));
    }
    kernels::run(consent, &OLD_KERNELS.map(str::to_owned), None)?;
    Ok(None)
}

/// Lets cargo build as the user and run what it built through sudo.
pub(crate) fn as_root(tests: &mut Command) -> Result<()> {
    if shell::is_root() {
        return Ok(());
    }
    let runner = format!(
        "CARGO_TARGET_{}_RUNNER",
        shell::host()?.to_uppercase().replace('-', "_")
    );
    let kept = "RUST_LOG,CI,TESTBED_REQUIRE,CARGO_MANIFEST_DIR,PARITY_PACKETS,PARITY_SEED,SENTINEL_CAPTURES,AGENT_KILLS,AGENT_KILL_SEED,SOAK_ROUNDS,DESK_KILLS,DESK_KILL_SEED,DESK_FAULTS,PROTECTED_SEQUENCES,PROTECTED_SEED,FLOOD_SECONDS,UPGRADES,UPGRADES_SEED,REFUSALS,REFUSALS_SEED";
    tests.env(runner, format!("sudo --preserve-env={kept} --"));
    Ok(())
}

/// Two machines, the second of which starts from what the first one left. More: `cargo xtask prove power`.
const POWER_CUTS: u64 = 20;

/// What was acknowledged, after power cuts, where machines can be had.
fn power_cuts(consent: Consent) -> Result<Option<String>> {
    if let Some(why) = kernels::power::unavailable(consent) {
        return Ok(Some(format!("power cuts: {why}")));
    }
    for figure in kernels::power::prove(consent, POWER_CUTS, 1)? {
        println!("{}: {} {}", figure.name, figure.value, figure.unit);
    }
    Ok(None)
}

fn suite(consent: Consent) -> Result<Vec<String>> {
    // The integration tests run the real binary, which cargo builds with the tests, the kernel programs in it.
    run::kernel_programs(consent)?;
    shell::step("unit, property, replay, browser, kernel and integration tests");
    let mut tests = shell::cargo(["test", "--locked", "--workspace", "--no-fail-fast"])?;
    tests.env("TESTBED_REQUIRE", "1");
    as_root(&mut tests)?;
    watch(&mut tests)
}

/// Runs tests with their results shown, and gives what those that passed say they skipped.
fn watch(tests: &mut Command) -> Result<Vec<String>> {
    let mut child = tests
        .args(["--", "--show-output"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be run")?;
    let mut skipped = Vec::new();
    let mut passed = false;
    let output = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        // What tests printed comes in two sections after their names; that of the passed ones is long and dull.
        match line.as_str() {
            "successes:" => passed = true,
            "failures:" => passed = false,
            text if text.starts_with("test result:") => passed = false,
            _ => {}
        }
        match line.strip_prefix("skipped: ") {
            Some(reason) if !skipped.iter().any(|known| known == reason) => skipped.push(reason.to_owned()),
            _ if !passed => println!("{line}"),
            _ => {}
        }
    }
    ensure!(child.wait()?.success(), "tests failed; see above");
    Ok(skipped)
}
