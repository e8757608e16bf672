//! `cargo xtask fuzz`: libFuzzer, guided by what of our code an input reaches, on stable Rust.
//!
//! In: targets (`fuzz/src/bin`), seconds. Out: figures of each; new inputs in `target/fuzz/NAME`; of what does not hold, the
//! input and how to run it again. Invariant: only crates of this workspace are instrumented, so that what `cargo test` built
//! of others' is used as it is; the parser alone is built apart, whole, with `AddressSanitizer`. Deliberately elsewhere: what
//! holds (`fuzz`, and `fuzzing` in the rooms).

use crate::prove::Figure;
use crate::{Consent, setup, shell};
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

/// Every target, the parser first.
const TARGETS: [&str; 11] = [
    PARSER,
    "api",
    "bettercap",
    "feeds",
    "fleet",
    "intel",
    "migrate",
    "netlink",
    "pcap",
    "ring",
    "settings",
];
const PARSER: &str = "parser";

/// Has us be the compiler's wrapper; see [`compile`].
const WRAPPER: &str = "SENTINEL_COVERAGE";

/// What libFuzzer wants to know of the code, as cargo-fuzz has it.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebuginfo=line-tables-only",
];

/// An input may take this long, seconds, and the whole this much memory, MiB.
const SLOWEST: u32 = 10;
const MEMORY: u32 = 1024;

/// In `cargo xtask test`: the parser, and each of the others (seconds).
const BRIEFLY: (u64, u64) = (60, 5);

/// How one run is wished for.
#[derive(clap::Args, Debug)]
pub(crate) struct Wish {
    /// Which; all of them by default
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
    /// How long each
    #[arg(long, default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Which choices; others on every run by default
    #[arg(long)]
    seed: Option<u32>,
}

/// Runs targets one after the other.
///
/// # Errors
/// When one cannot be built, or something does not hold.
pub(crate) fn run(consent: Consent, wish: &Wish) -> Result<()> {
    let meant = |target: &&str| wish.targets.is_empty() || wish.targets.iter().any(|name| name == target);
    let wanted: Vec<&'static str> = TARGETS.into_iter().filter(meant).collect();
    setup::cpp(consent)?;
    let built = Built::new(&wanted)?;
    for target in wanted {
        let done = built.start(target, wish.seconds, wish.seed)?.end()?;
        println!("{done}");
    }
    Ok(())
}

/// Every target for so many seconds, as a proof.
///
/// # Errors
/// As [`run`].
pub(crate) fn prove(consent: Consent, count: u64, seed: u64) -> Result<Vec<Figure>> {
    setup::cpp(consent)?;
    let built = Built::new(&TARGETS)?;
    let mut figures = Vec::new();
    for target in TARGETS {
        let done = built.start(target, count, Some(seed as u32))?.end()?;
        println!("{done}");
        let figure = |what: &str, value: u64, unit: &str| Figure {
            name: format!("{target}: {what}"),
            value: value as f64,
            unit: unit.to_owned(),
        };
        figures.extend([
            figure("executions", done.executions, ""),
            figure("a second", done.executions / count.max(1), "1/s"),
            figure("memory at most", done.memory, "MiB"),
            figure("crashes", 0, ""),
        ]);
    }
    Ok(figures)
}

/// Every target for a short time, the parser beside the others.
///
/// # Errors
/// As [`run`].
pub(crate) fn briefly() -> Result<()> {
    shell::step("fuzzing, briefly (`cargo xtask fuzz` does it at length)");
    let built = Built::new(&TARGETS)?;
    let (long, short) = BRIEFLY;
    let parser = built.start(PARSER, long, None)?;
    for target in TARGETS.into_iter().filter(|target| *target != PARSER) {
        println!("{}", built.start(target, short, None)?.end()?);
    }
    println!("{}", parser.end()?);
    Ok(())
}

/// Where the binaries are.
struct Built {
    agent: PathBuf,
    parser: PathBuf,
}

impl Built {
    fn new(wanted: &[&str]) -> Result<Self> {
        let target = shell::target()?;
        let host = shell::host()?;
        let apart = target.join("fuzz/asan");
        if wanted.contains(&PARSER) {
            let mut command = cargo(&["--no-default-features", "--features=libfuzzer", "--bin", PARSER])?;
            command.args(["--target", &host, "--target-dir"]).arg(&apart);
            // The sanitizer is no part of stable Rust, and its runtime comes with it.
            command.env("RUSTC_BOOTSTRAP", "1");
            let flags = COVERAGE
                .into_iter()
                .chain(["-Zsanitizer=address", "-Copt-level=3", "-Cdebug-assertions=yes"]);
            command.env("CARGO_ENCODED_RUSTFLAGS", flags.collect::<Vec<_>>().join("\u{1f}"));
            shell::run(&mut command)?;
        }
        let others: Vec<&str> = wanted.iter().copied().filter(|name| *name != PARSER).collect();
        if !others.is_empty() {
            let mut command = cargo(&["--features=libfuzzer"])?;
            command.args(others.iter().flat_map(|name| ["--bin", name]));
            command.env("RUSTC_WORKSPACE_WRAPPER", std::env::current_exe()?);
            command.env(WRAPPER, "1");
            shell::run(&mut command)?;
        }
        Ok(Self {
            agent: target.join("debug"),
            parser: apart.join(host).join("debug"),
        })
    }

    fn start(&self, target: &'static str, seconds: u64, seed: Option<u32>) -> Result<Running> {
        let folder = shell::target()?.join("fuzz");
        let (inputs, found) = (folder.join(target), folder.join("found"));
        std::fs::create_dir_all(&inputs)?;
        std::fs::create_dir_all(&found)?;
        let log = folder.join(format!("{target}.log"));
        let program = if target == PARSER { &self.parser } else { &self.agent }.join(target);
        let kept = crate::ebpf::root()?.join("fuzz/corpus").join(target);
        let mut command = Command::new(&program);
        command.arg(&inputs).args(kept.is_dir().then_some(&kept));
        command.args([
            format!("-max_total_time={seconds}"),
            format!("-artifact_prefix={}/{target}-", found.display()),
            format!("-timeout={SLOWEST}"),
            format!("-rss_limit_mb={MEMORY}"),
            "-print_final_stats=1".to_owned(),
        ]);
        command.args(seed.map(|seed| format!("-seed={}", seed.max(1))));
        command.env("FUZZ_SEEDS", &inputs).env("RUST_BACKTRACE", "1");
        let written = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        command
            .stdin(Stdio::null())
            .stdout(written.try_clone()?)
            .stderr(written);
        let child = command.spawn().with_context(|| program.display().to_string())?;
        Ok(Running {
            target,
            child,
            log,
            program,
        })
    }
}

fn cargo(args: &[&str]) -> Result<Command> {
    let mut command = shell::cargo(["build", "--locked", "--package", "sentinel-fuzz"])?;
    command.args(args).env("CARGO_INCREMENTAL", "0");
    Ok(command)
}

/// One that runs.
struct Running {
    target: &'static str,
    child: Child,
    log: PathBuf,
    program: PathBuf,
}

impl Running {
    fn end(mut self) -> Result<Done> {
        let status = self.child.wait()?;
        let log = std::fs::read(&self.log)?;
        let log = String::from_utf8_lossy(&log);
        if !status.success() {
            let found = log.lines().find_map(|line| line.split("Test unit written to ").nth(1));
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(60)..].join("\n");
            let Some(found) = found else {
                bail!("{}: {status}\n{end}", self.target);
            };
            bail!(
                "{}: something does not hold\n{end}\n\nagain: {} {found}\nonce it is mended, keep it: cp {found} fuzz/corpus/{}/",
                self.target,
                self.program.display(),
                self.target,
            );
        }
        let done = Done {
            target: self.target,
            executions: figure(&log, "number_of_executed_units")?,
            a_second: figure(&log, "average_exec_per_sec")?,
            memory: figure(&log, "peak_rss_mb")?,
        };
        ensure!(
            done.executions > 100,
            "{}: only {} executions",
            done.target,
            done.executions
        );
        Ok(done)
    }
}

impl Drop for Running {
    /// Where another one failed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of it.
struct Done {
    target: &'static str,
    executions: u64,
    a_second: u64,
    memory: u64,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            target,
            executions,
            a_second,
            memory,
        } = self;
        write!(
            f,
            "fuzz {target}: {executions} executions, {a_second} a second, 0 crashes, {memory} MiB at most"
        )
    }
}

fn figure(log: &str, name: &str) -> Result<u64> {
    let told = log.lines().find_map(|line| {
        let (_, rest) = line.split_once(&format!("stat::{name}:"))?;
        rest.trim().parse().ok()
    });
    told.with_context(|| format!("libFuzzer does not tell {name}"))
}

/// Whether we were called as the compiler's wrapper.
pub(crate) fn is_compiler() -> bool {
    std::env::var_os(WRAPPER).is_some()
}

/// The compiler, which our arguments are the call of, with what libFuzzer wants to know of the code.
pub(crate) fn compile() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(rustc) = args.next() else {
        return ExitCode::FAILURE;
    };
    let args: Vec<_> = args.collect();
    let code = instrumented(&args).then_some(COVERAGE);
    let status = Command::new(rustc)
        .args(&args)
        .args(code.into_iter().flatten())
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Build scripts run without libFuzzer, and what asks the compiler about itself compiles nothing.
fn instrumented(args: &[std::ffi::OsString]) -> bool {
    let name = args.windows(2).find(|pair| pair[0] == "--crate-name");
    name.is_some_and(|pair| pair[1] != "build_script_build" && pair[1] != "___")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_the_manifest_is_run() {
        let manifest = include_str!("../../fuzz/Cargo.toml");
        let mut named: Vec<&str> = manifest
            .split("[[bin]]\n")
            .skip(1)
            .filter_map(|bin| bin.lines().next()?.strip_prefix("name = \"")?.strip_suffix('"'))
            .collect();
        named.sort_unstable();
        let mut ours = TARGETS;
        ours.sort_unstable();
        assert_eq!(named, ours);
    }

    #[test]
    fn only_what_is_fuzzed_is_instrumented() {
        let call = |words: &str| instrumented(&words.split(' ').map(Into::into).collect::<Vec<_>>());
        assert!(call("--crate-name sentinel --edition=2024 sentinel/src/lib.rs"));
        assert!(!call(
            "--crate-name build_script_build --edition=2024 sentinel/build.rs"
        ));
        assert!(!call("- --crate-name ___ --print=file-names"));
        assert!(!call("-vV"));
    }

    #[test]
    fn figures_are_read_as_libfuzzer_tells_them() -> Result<()> {
        let log =
            "Done 5 runs in 2 second(s)\nstat::number_of_executed_units: 1234\nstat::peak_rss_mb:              56\n";
        assert_eq!(
            (figure(log, "number_of_executed_units")?, figure(log, "peak_rss_mb")?),
            (1234, 56)
        );
        assert!(figure(log, "average_exec_per_sec").is_err());
        Ok(())
    }
}
