//! What building and testing need beyond rustup's stable toolchain.

use crate::tools::LINKER;
use crate::{Consent, ebpf, shell};
use anyhow::{Result, bail, ensure};
use testbed::tools::{
    BETTERCAP, BROWSER, CPP, DEBUGGER, ENGINE, FAKETIME, IMAGE, MACHINE, MAIL, MAKE, PACKAGING, PAGES, PIP, PROMETHEUS,
    REDIS, REPLAY, STRIKE, TOOLS, Tool, missing,
};

/// A C compiler and make: SQLite and jemalloc are built from source.
pub(crate) fn compiler(consent: Consent) -> Result<()> {
    let found = ["cc", "gcc", "clang"]
        .iter()
        .any(|name| shell::succeeds(name, &["--version"]));
    ensure!(
        found,
        "there is no C compiler; install one: `apt-get install gcc libc6-dev make`"
    );
    needed(consent, &[MAKE], "to build jemalloc with")
}

/// The real tools that attack, serve and measure in the namespaces; what the tests need beyond the lab.
pub(crate) fn tools(consent: Consent, beyond: &[Tool]) -> Result<()> {
    needed(consent, &[TOOLS, beyond].concat(), "which the tests run")
}

/// Tools without which it does not go on.
pub(crate) fn needed(consent: Consent, wanted: &[Tool], purpose: &str) -> Result<()> {
    if let Some(list) = offered(consent, wanted, purpose)? {
        bail!("missing: {list}, {purpose}; run again with --yes, or `apt-get install {list}`");
    }
    Ok(())
}

/// Tools that are better to have: installed where that is allowed, done without where not.
pub(crate) fn optional(consent: Consent, wanted: &[Tool], purpose: &str) -> Result<()> {
    if let Some(list) = offered(consent, wanted, purpose)? {
        println!("without {list}: what they have is left out");
    }
    Ok(())
}

/// Installs the packages of those that are missing, if that is allowed; the packages of those that are missing still.
fn offered(consent: Consent, wanted: &[Tool], purpose: &str) -> Result<Option<String>> {
    let mut packages: Vec<&str> = missing(wanted).iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(None);
    }
    let list = packages.join(" ");
    let mut question = format!("Install what is missing of Debian's packages, {purpose}: {list}?");
    if packages.contains(&"openssh-server") {
        question.push_str(" (With systemd, openssh-server starts an SSH server on this machine.)");
    }
    if !consent.given(&question) {
        return Ok(Some(list));
    }
    shell::step(&format!("installing {list}"));
    ebpf::install_packages(&packages)?;
    let still: Vec<&str> = missing(wanted).iter().map(|tool| tool.package).collect();
    Ok((!still.is_empty()).then(|| still.join(" ")))
}

/// A C++ compiler: libFuzzer is built from source.
pub(crate) fn cpp(consent: Consent) -> Result<()> {
    compiler(consent)?;
    needed(consent, &[CPP], "to build libFuzzer with")
}

/// Whatever the tests face that is real.
pub(crate) fn tools_of_tests(consent: Consent) -> Result<()> {
    tools(
        consent,
        &[
            &[
                BETTERCAP, BROWSER, CPP, DEBUGGER, FAKETIME, MACHINE, PAGES, PIP, REDIS, REPLAY, STRIKE,
            ],
            ENGINE,
            IMAGE,
            MAIL,
            PACKAGING,
            PROMETHEUS,
        ]
        .concat(),
    )
}

/// `cargo xtask setup`.
pub(crate) fn everything(consent: Consent) -> Result<()> {
    compiler(consent)?;
    ebpf::ensure_compiler(consent)?;
    LINKER.ensure(consent)?;
    tools_of_tests(consent)?;
    println!("everything is there");
    Ok(())
}
