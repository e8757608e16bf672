//! Programs that cargo builds for us, in `target/tools`, each at one version.

use crate::{Consent, ebpf, shell};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// One of them.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// How long building it takes, for people.
    pub(crate) takes: &'static str,
    /// Of `cargo install`.
    pub(crate) flags: &'static [&'static str],
}

/// Links the kernel object; the only version that uses rustc's own LLVM (later ones need one of their own).
pub(crate) const LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.10.3",
    takes: "a few minutes",
    flags: &[],
};
/// Packs the Debian package. Its time is spent in packing by libraries; its own code need not be fast.
pub(crate) const PACKER: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    takes: "a minute",
    flags: &["--debug", "--no-default-features"],
};
/// Looks at what the workspace depends on.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    takes: "some minutes",
    flags: &["--debug"],
};
/// Writes down what the workspace depends on.
pub(crate) const BILL: Tool = Tool {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    takes: "a minute",
    flags: &["--debug"],
};
/// Breaks the code in one place after another and asks the tests.
pub(crate) const MUTANTS: Tool = Tool {
    name: "cargo-mutants",
    version: "27.1.0",
    takes: "some minutes",
    flags: &["--debug"],
};

impl Tool {
    /// Whether it is there, at this version.
    ///
    /// # Errors
    /// Where there is no checkout.
    pub(crate) fn there(&self) -> Result<bool> {
        let program = self.place()?;
        let verb = self.name.trim_start_matches("cargo-");
        // What cargo calls takes its own name first.
        let told = Command::new(&program).args([verb, "--version"]).output();
        let plain = Command::new(&program).arg("--version").output();
        Ok([told, plain].into_iter().flatten().any(|told| {
            let text = String::from_utf8_lossy(&told.stdout).into_owned();
            text.split_whitespace().any(|word| word == self.version)
        }))
    }

    fn place(&self) -> Result<PathBuf> {
        Ok(ebpf::root()?.join("target/tools/bin").join(self.name))
    }

    /// Where it is; built where it is not.
    ///
    /// # Errors
    /// Where it may not be built, or cannot.
    pub(crate) fn ensure(&self, consent: Consent) -> Result<PathBuf> {
        let Self {
            name,
            version,
            takes,
            flags,
        } = self;
        let tools = ebpf::root()?.join("target/tools");
        let program = self.place()?;
        if self.there()? {
            return Ok(program);
        }
        let mend = format!("cargo install --locked --root target/tools {name}@{version}");
        ensure!(
            consent.given(&format!(
                "{name} {version} is missing. Build it into target/tools ({takes})?"
            )),
            "{name} {version} is missing; run again with --yes, or `{mend}`"
        );
        shell::step(&format!("building {name} {version} (once; {takes})"));
        let scratch = tools.join("build");
        let mut command = ebpf::own_cargo();
        command
            .args(["install", "--locked", "--force"])
            .args(*flags)
            .arg("--root")
            .arg(&tools);
        command.arg(format!("{name}@{version}"));
        command.arg("--target-dir").arg(&scratch);
        shell::run(&mut command).with_context(|| format!("could not build {name}; by hand: `{mend}`"))?;
        // Hundreds of megabytes that nothing needs again.
        let _ = std::fs::remove_dir_all(&scratch);
        Ok(program)
    }
}
