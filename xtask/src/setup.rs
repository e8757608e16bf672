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
    needed(consent, MAKE, "to build jemalloc with")
}

/// Installs what nothing can be built without.
fn needed(consent: Consent, tool: Tool, purpose: &str) -> Result<()> {
    if missing(&[tool]).is_empty() {
        return Ok(());
    }
    let Tool { program, package } = tool;
    if !consent.given(&format!("Install the Debian package {package}, {purpose}?")) {
        bail!("there is no {program}; run again with --yes, or `apt-get install {package}`");
    }
    shell::step(&format!("installing {package}"));
    ebpf::install_packages(&[package])?;
    ensure!(
        missing(&[tool]).is_empty(),
        "{program} is still missing after installing {package}"
    );
    Ok(())
}

/// The real tools that attack, serve and measure in the namespaces; what the tests need beyond the lab.
pub(crate) fn tools(consent: Consent, beyond: &[Tool]) -> Result<()> {
    let wanted = [TOOLS, beyond].concat();
    let absent = missing(&wanted);
    if absent.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = absent.iter().map(|tool| tool.package).collect();
    let list = packages.join(" ");
    let mut question = format!("The tests use tools that are missing here. Install the Debian packages {list}?");
    if packages.contains(&"openssh-server") {
        question.push_str(" (With systemd, openssh-server starts an SSH server on this machine.)");
    }
    if !consent.given(&question) {
        bail!("missing tools; run again with --yes, or `apt-get install {list}`");
    }
    shell::step(&format!("installing {list}"));
    ebpf::install_packages(&packages)?;
    let still: Vec<&str> = missing(&wanted).iter().map(|tool| tool.program).collect();
    ensure!(still.is_empty(), "still missing after installing: {}", still.join(", "));
    Ok(())
}

/// Tools that are better to have: installed where that is allowed, done without where not.
pub(crate) fn optional(consent: Consent, wanted: &[Tool], purpose: &str) -> Result<()> {
    let packages: Vec<&str> = missing(wanted).iter().map(|tool| tool.package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !consent.given(&format!("Install the Debian packages {list}, {purpose}?")) {
        println!("without {list}: what they have is left out");
        return Ok(());
    }
    shell::step(&format!("installing {list}"));
    ebpf::install_packages(&packages)
}

/// A C++ compiler: libFuzzer is built from source.
pub(crate) fn cpp(consent: Consent) -> Result<()> {
    compiler(consent)?;
    needed(consent, CPP, "to build libFuzzer with")
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
