//! Builds the kernel object from source, and installs what that needs.
//!
//! In: `sentinel-ebpf`. Out: `target/bpf/sentinel-ebpf.o`, which `sentinel/build.rs` embeds, and `target/bpf/yardstick.o`,
//! which only the benchmark loads.
//! Invariant: nothing prebuilt; says which way it took; the outer `cargo xtask` leaves no trace in the inner build.
//! Ways, in order: a rustup nightly with `rust-src`; the system compiler with the BPF standard library (Debian's
//! `rustc-web` and `libstd-rust-web-dev-bpf`); else one of the two is installed.

use crate::tools::LINKER;
use crate::{Consent, backedge};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// LLVM generation the linker speaks; a compiler of another one writes bitcode it cannot read.
const LLVM: &str = "22";
/// The latest nightly of that generation, for where no distribution compiler is to be had.
const NIGHTLY: &str = "nightly-2026-05-20";
/// The programs the benchmark measures against; `sentinel/benches/kernel` looks for it beside the kernel object.
const YARDSTICK: &str = "yardstick.o";
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// A compiler that can build for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A rustup nightly of this name, with `-Z build-std=core`.
    Nightly(String),
    /// The system compiler, with the standard library its distribution ships for BPF.
    System,
}

impl Way {
    fn describe(&self) -> String {
        match self {
            Self::Nightly(name) => format!("rustup toolchain {name} with rust-src (-Z build-std=core)"),
            Self::System => format!("{SYSTEM_RUSTC} with its bpfel-unknown-none standard library"),
        }
    }
}

/// Builds the kernel object, if it is out of date, and returns its path. With `debug` it has its diagnostics (feature
/// `kernel-debug`), which no release has.
///
/// # Errors
/// When no compiler or linker could be had (the text names the mend), or the build fails.
pub(crate) fn build(consent: Consent, debug: bool) -> Result<PathBuf> {
    let root = root()?;
    let way = ensure_compiler(consent)?;
    let linker = LINKER.ensure(consent)?;
    println!("kernel object: {}", way.describe());

    let target_dir = root.join("target/bpf");
    let triple = if cfg!(target_endian = "big") {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    };
    let mut cargo = match &way {
        Way::Nightly(name) => {
            let mut cargo = clean("rustup");
            cargo.args(["run", name, "cargo", "build", "-Z", "build-std=core"]);
            cargo.env("LD_LIBRARY_PATH", sysroot(Some(name))?.join("lib"));
            cargo
        }
        Way::System => {
            let mut cargo = own_cargo();
            cargo.arg("build");
            cargo.env("RUSTC", SYSTEM_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            let llvm = if rustup() {
                sysroot(None)?.join("lib")
            } else {
                system_llvm(&root)?
            };
            cargo.env("LD_LIBRARY_PATH", llvm);
            cargo
        }
    };
    cargo.args([
        "--package",
        "sentinel-ebpf",
        "--release",
        "--locked",
        "--target",
        triple,
    ]);
    cargo.arg("--target-dir").arg(&target_dir).current_dir(&root);
    if debug {
        cargo.args(["--features", "kernel-debug"]);
    }
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        // The second generation of instructions, of Linux 4.14: the first lacks half of all comparisons.
        "-Ctarget-cpu=v2".to_owned(),
        "-Cdebuginfo=2".to_owned(),
    ];
    // The verifier's messages name lines of sources; and what names none is the same bytes everywhere.
    flags.extend(remaps("--remap-path-prefix", &root));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // The workspace's release profile is the agent's; a kernel program cannot unwind, and its counters wrap.
    for (key, value) in [
        ("OPT_LEVEL", "3"),
        ("PANIC", "abort"),
        ("OVERFLOW_CHECKS", "false"),
        ("DEBUG_ASSERTIONS", "false"),
        ("LTO", "true"),
        ("CODEGEN_UNITS", "1"),
        ("DEBUG", "2"),
        ("STRIP", "none"),
    ] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    run(&mut cargo).context("building the kernel object failed; the compiler's message is above")?;

    let release = target_dir.join(triple).join("release");
    let object = target_dir.join("sentinel-ebpf.o");
    loops(&release.join("sentinel-ebpf"), debug)?;
    keep(&release.join("sentinel-ebpf"), &object)?;
    keep(&release.join("yardstick"), &target_dir.join(YARDSTICK))?;
    Ok(object)
}

/// What has a compiler name the same places, wherever the checkout and the crates lie.
pub(crate) fn remaps(flag: &str, checkout: &Path) -> impl Iterator<Item = String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let places = [
        Some((checkout.to_owned(), "/sentinel")),
        home.map(|home| (home, "/cargo")),
    ];
    let flag = flag.to_owned();
    let said = move |(from, to): (PathBuf, &str)| format!("{flag}={}={to}", from.display());
    places.into_iter().flatten().map(said)
}

/// Refuses an object with loops that old kernels refuse.
fn loops(built: &Path, debug: bool) -> Result<()> {
    if debug {
        // What writes the diagnostics loops; they are for the kernel at hand.
        return Ok(());
    }
    let bytes = std::fs::read(built).with_context(|| format!("{} was not built", built.display()))?;
    let found = backedge::back_edges(&bytes)?;
    let list: Vec<String> = found
        .iter()
        .map(|edge| format!("{}: instruction {}", edge.section, edge.at))
        .collect();
    ensure!(
        list.is_empty(),
        "Linux 5.10 and 6.1 refuse loops that run on into their beginning without a jump; write them out, or shape them \
         otherwise (`llvm-objdump -S` shows where):\n  {}",
        list.join("\n  ")
    );
    Ok(())
}

/// Puts what was built where it is looked for. Written only when it changed, so that nothing that embeds it is rebuilt
/// for nothing.
fn keep(built: &Path, object: &Path) -> Result<()> {
    let fresh = std::fs::read(built).with_context(|| format!("{} was not built", built.display()))?;
    if std::fs::read(object).ok().as_deref() != Some(&fresh) {
        let partial = object.with_extension("partial");
        std::fs::write(&partial, &fresh)?;
        std::fs::rename(&partial, object)?;
    }
    Ok(())
}

/// Finds a compiler, or installs one where that is allowed.
///
/// # Errors
/// When there is none and none could be installed; the text names the mend.
pub(crate) fn ensure_compiler(consent: Consent) -> Result<Way> {
    if let Some(way) = find_compiler() {
        return Ok(way);
    }
    let mend = format!(
        "install one by hand: `apt-get install {}` or `rustup toolchain install {NIGHTLY} --component rust-src`",
        PACKAGES.join(" ")
    );
    ensure!(
        consent.given(&format!(
            "No compiler can build for BPF yet. Install {} (Debian packages)?",
            PACKAGES.join(" ")
        )),
        "no compiler can build for BPF; run again with --yes, or {mend}"
    );
    let debian = install_packages(&PACKAGES);
    if let Some(way) = find_compiler() {
        return Ok(way);
    }
    if let Err(error) = debian {
        println!("Debian packages: {error:#}; trying {NIGHTLY} instead");
    }
    let install = [
        "toolchain",
        "install",
        NIGHTLY,
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ];
    run(clean("rustup").args(install))
        .with_context(|| format!("could not install a compiler that builds for BPF; {mend}"))?;
    find_compiler().with_context(|| {
        format!(
            "the installed compilers do not use LLVM {LLVM}, which {} {} needs; {mend}",
            LINKER.name, LINKER.version
        )
    })
}

/// The first way that works on this machine.
pub(crate) fn find_compiler() -> Option<Way> {
    let toolchains = output(clean("rustup").args(["toolchain", "list"])).unwrap_or_default();
    for line in toolchains.lines().filter(|line| line.starts_with("nightly")) {
        let name = line.split_whitespace().next().unwrap_or(line);
        let sources = sysroot(Some(name)).map(|root| root.join("lib/rustlib/src/rust/library/core"));
        if !sources.is_ok_and(|path| path.is_dir()) {
            continue;
        }
        if llvm(clean("rustup").args(["run", name, "rustc", "-vV"])) {
            return Some(Way::Nightly(name.to_owned()));
        }
        println!(
            "{name} has rust-src but does not use LLVM {LLVM}, which {} {} needs: passed over",
            LINKER.name, LINKER.version
        );
    }
    let library =
        output(Command::new(SYSTEM_RUSTC).args(["--print", "target-libdir", "--target", "bpfel-unknown-none"]))?;
    let library = PathBuf::from(library.trim());
    let has_core = std::fs::read_dir(library)
        .ok()?
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"));
    (has_core && llvm(Command::new(SYSTEM_RUSTC).arg("-vV"))).then_some(Way::System)
}

/// Installs Debian packages, through sudo if need be.
///
/// # Errors
/// When there is no apt-get, or it fails.
pub(crate) fn install_packages(packages: &[&str]) -> Result<()> {
    ensure!(
        output(Command::new("apt-get").arg("--version")).is_some(),
        "there is no apt-get here"
    );
    let root = output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    let apt = || {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // A stale index is no reason to give up: the install says whether it was good enough.
    let _ = run(apt().args(["update", "--quiet"]));
    run(apt()
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages))
}

/// The workspace's folder.
///
/// # Errors
/// When cargo does not say and the working directory is not below it.
pub(crate) fn root() -> Result<PathBuf> {
    if let Some(package) = std::env::var_os("CARGO_MANIFEST_DIR")
        && let Some(root) = Path::new(&package).parent()
    {
        return Ok(root.to_owned());
    }
    let here = std::env::current_dir()?;
    let Some(root) = here
        .ancestors()
        .find(|dir| dir.join("sentinel-ebpf/Cargo.toml").is_file())
    else {
        bail!("run this inside the workspace");
    };
    Ok(root.to_owned())
}

/// A command without what the outer cargo and rustup put into the environment.
fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let ours = name.starts_with("CARGO")
            && !matches!(&*name, "CARGO_HOME" | "CARGO_NET_OFFLINE" | "CARGO_TERM_COLOR")
            && !name.starts_with("CARGO_HTTP_")
            && !name.starts_with("CARGO_REGISTR")
            && !name.starts_with("CARGO_SOURCE_")
            && !name.starts_with("CARGO_NET_");
        let rust = (name.starts_with("RUSTC") || name.starts_with("RUSTDOC"))
            || matches!(
                &*name,
                "RUSTUP_TOOLCHAIN" | "RUSTFLAGS" | "RUST_RECURSION_COUNT" | "LD_LIBRARY_PATH"
            );
        if ours || rust {
            command.env_remove(&key);
        }
    }
    command
}

/// Whether rustup is here. Where it is not, as in a container, cargo and rustc are the distribution's.
fn rustup() -> bool {
    output(clean("rustup").arg("--version")).is_some()
}

/// The cargo that the outer one is.
pub(crate) fn own_cargo() -> Command {
    if rustup() {
        let mut cargo = clean("rustup");
        cargo.args(["run", &active(), "cargo"]);
        return cargo;
    }
    clean("cargo")
}

/// A folder with the distribution's LLVM of the linker's generation and no other: the linker takes the first it meets.
fn system_llvm(root: &Path) -> Result<PathBuf> {
    let ours = |name: &str| {
        let (dash, dot) = (format!("libLLVM-{LLVM}.so"), format!("libLLVM.so.{LLVM}."));
        name.starts_with(&dash) || name.starts_with(&dot)
    };
    let entries = |dir: &Path| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let library = entries(Path::new("/usr/lib"))
        .filter(|path| path.is_dir())
        .flat_map(|dir| entries(&dir).collect::<Vec<_>>())
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(ours))
        .with_context(|| format!("no libLLVM {LLVM} below /usr/lib, which Debian's rustc-web brings"))?;
    let dir = root.join("target/tools/llvm");
    std::fs::create_dir_all(&dir)?;
    let link = dir.join(format!("libLLVM-{LLVM}.so"));
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&library, &link).with_context(|| format!("cannot make {}", link.display()))?;
    Ok(dir)
}

/// The toolchain the outer cargo runs under.
fn active() -> String {
    std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned())
}

/// The folder of a rustup toolchain; of the active one by default.
fn sysroot(toolchain: Option<&str>) -> Result<PathBuf> {
    let active = active();
    let name = toolchain.unwrap_or(&active);
    output(clean("rustup").args(["run", name, "rustc", "--print", "sysroot"]))
        .map(|path| PathBuf::from(path.trim()))
        .with_context(|| format!("rustup has no toolchain {name}; `rustup toolchain install {name}`"))
}

/// Whether a `rustc -vV` says that it uses the linker's generation of LLVM.
fn llvm(command: &mut Command) -> bool {
    output(command).is_some_and(|text| {
        text.lines()
            .filter_map(|line| line.strip_prefix("LLVM version: "))
            .any(|version| version.split('.').next() == Some(LLVM))
    })
}

/// Standard output, if the command could be run and succeeded.
fn output(command: &mut Command) -> Option<String> {
    let out = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs to the end, output shown.
fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("{name} cannot be run: is it installed?"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_builds_with_the_same_linker() {
        let file = include_str!("../../Dockerfile");
        assert!(
            file.contains(&format!(" {}@{}\n", LINKER.name, LINKER.version)),
            "{file}"
        );
    }
}
