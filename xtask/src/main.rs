//! The work around `cargo build`: one module per verb.
//!
//! In: a verb. Out: what it made or found, and an exit code. Invariant: builds run as the user who called, only what
//! needs root is elevated; nothing but Debian packages, the BPF linker and a nightly toolchain is ever installed, and
//! never without being asked or told. Deliberately elsewhere: the namespaces and the agent in them (`tests/testbed`).

mod backedge;
mod bench;
mod deb;
mod ebpf;
mod fuzz;
mod kernels;
mod lab;
mod lint;
mod prove;
mod run;
mod setup;
mod shell;
mod supply;
mod test;
mod tidy;
mod tools;
mod vendor;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The work around `cargo build`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// Whether things may be installed unasked.
#[derive(Args, Clone, Copy, Debug)]
struct Consent {
    /// Install what is missing without asking (`CI=true` does the same)
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Whether something may be installed: `--yes`, `CI=true`, or a yes at the terminal.
    fn given(self, question: &str) -> bool {
        if self.yes || std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1") {
            return true;
        }
        if !std::io::stdin().is_terminal() {
            return false;
        }
        print!("{question} [Y/n] ");
        let _ = std::io::stdout().flush();
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok_and(|n| n > 0) && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes")
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Finds what building and testing need, and installs what is missing
    Setup {
        #[command(flatten)]
        consent: Consent,
    },
    /// Builds the kernel object into target/bpf
    BuildEbpf {
        #[command(flatten)]
        consent: Consent,
        /// With the programs' diagnostics
        #[arg(long)]
        kernel_debug: bool,
    },
    /// Sets up, builds, and starts the agent with config/settings.yml (simulation mode)
    Run {
        #[command(flatten)]
        consent: Consent,
        /// Handed to `sentinel run`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// The Debian package, into target/debian
    Deb {
        #[command(flatten)]
        consent: Consent,
        /// An agent that is built already
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// Where the package goes
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Everything that proves the project
    Test {
        #[command(flatten)]
        consent: Consent,
        /// Leave out what needs root, kernel programs or other people's tools
        #[arg(long)]
        quick: bool,
    },
    /// The kernel programs on the kernels of Debian's releases, booted in qemu
    TestKernels {
        #[command(flatten)]
        consent: Consent,
        /// Which, such as 5.10 6.1; all the archive has by default
        versions: Vec<String>,
        /// Where the table goes as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// What the tests show in small, at length, with the result written down
    Prove {
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        wish: prove::Wish,
    },
    /// Bytes of libFuzzer's choice to whatever reads bytes from outside
    Fuzz {
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        wish: fuzz::Wish,
    },
    /// A protected host, a benign client and attackers in network namespaces, to look at
    Lab {
        #[command(flatten)]
        consent: Consent,
        /// One scripted pass, then exit
        #[arg(long)]
        once: bool,
        /// Where the pass writes what was seen
        #[arg(long, value_name = "FILE", requires = "once")]
        json: Option<PathBuf>,
        /// Record a labelled session to learn from in a new folder, without an agent, then exit
        #[arg(long, value_name = "DIR", conflicts_with = "once")]
        record: Option<PathBuf>,
        /// How long the recording may take
        #[arg(long, default_value_t = 3, requires = "record", value_parser = clap::value_parser!(u64).range(1..=60))]
        minutes: u64,
        /// Which attacks in which order; another on every run by default, and told
        #[arg(long, requires = "record")]
        seed: Option<u64>,
        /// Only these families of attacks, such as scan,c2
        #[arg(long, value_delimiter = ',', requires = "record")]
        families: Vec<String>,
    },
    /// The benchmarks: detect, intel, kernel, lists, pipeline, respond
    Bench {
        #[command(flatten)]
        consent: Consent,
        /// Which; all of them by default
        #[arg(value_parser = bench::SUITES)]
        suites: Vec<String>,
        /// Where the figures go as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Formatting, clippy, tidy, and what we depend on
    Lint {
        #[command(flatten)]
        consent: Consent,
    },
    /// The bill of materials, into target/sbom (CycloneDX)
    Sbom {
        #[command(flatten)]
        consent: Consent,
    },
    /// The rules of ARCHITECTURE.md against the code
    Tidy,
    /// Fetches the dashboard's libraries anew, at the versions named in xtask/src/vendor.rs
    VendorWeb,
    /// What the other verbs do as root
    #[command(hide = true, subcommand)]
    Inside(lab::Inside),
}

fn main() -> ExitCode {
    if fuzz::is_compiler() {
        return fuzz::compile();
    }
    let outcome = dispatch(Cli::parse().verb);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<()> {
    match verb {
        Verb::Setup { consent } => setup::everything(consent),
        Verb::BuildEbpf { consent, kernel_debug } => {
            let object = ebpf::build(consent, kernel_debug)?;
            println!("{}", object.display());
            Ok(())
        }
        Verb::Run { consent, args } => run::run(consent, &args),
        Verb::Deb { consent, binary, out } => {
            println!("{}", deb::build(consent, binary, out)?.display());
            Ok(())
        }
        Verb::Test { consent, quick } => test::run(consent, quick),
        Verb::TestKernels {
            consent,
            versions,
            json,
        } => kernels::run(consent, &versions, json.as_deref()),
        Verb::Prove { consent, wish } => prove::run(consent, &wish),
        Verb::Fuzz { consent, wish } => fuzz::run(consent, &wish),
        Verb::Lab {
            consent,
            once,
            json,
            record,
            minutes,
            seed,
            families,
        } => match record {
            Some(dir) => lab::record(consent, &dir, minutes, seed, &families),
            None => lab::run(consent, once, json.as_deref()),
        },
        Verb::Bench { consent, suites, json } => bench::run(consent, &suites, json.as_deref()),
        Verb::Lint { consent } => lint::run(consent),
        Verb::Sbom { consent } => {
            println!("{}", supply::bill(consent)?.display());
            Ok(())
        }
        Verb::VendorWeb => vendor::vendor(),
        Verb::Tidy => tidy::run(),
        Verb::Inside(inside) => lab::inside(&inside),
    }
}
