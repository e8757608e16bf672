//! `cargo xtask test-kernels`: the kernel programs on the kernels of Debian's releases, each in a machine of its own.
//!
//! In: versions, or none for all the archive has. Out: a table, optionally as JSON, and failure where a kernel refuses
//! what another takes. Invariant: what is asked of every kernel is the test `boot` of `sentinel/tests/kernel`, and the
//! verdict matrix; nothing is installed or attached on this machine.

mod archive;
mod image;
mod machine;
pub(crate) mod power;

use crate::{Consent, ebpf, run, setup, shell};
use anyhow::{Context, Result, bail, ensure};
use archive::Archive;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use testbed::tools::{Tool, missing};

/// Beyond what every test needs.
const TOOLS: [Tool; 4] = [
    Tool {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
    },
    Tool {
        program: "xz",
        package: "xz-utils",
    },
    Tool {
        program: "ip",
        package: "iproute2",
    },
    Tool {
        program: "busybox",
        package: "busybox-static",
    },
];
/// Fewer kernels prove nothing about the others.
const AT_LEAST: usize = 2;
/// What the verifier walked when it was last looked at, by series of kernel and program.
const COSTS: &str = "xtask/verifier.json";
/// More than that above the committed figure is a failure, percent.
const GROWTH: u64 = 20;

type Costs = BTreeMap<String, u64>;

/// What a kernel's own test tells; `sentinel/tests/kernel/boot.rs` writes it.
#[derive(Debug, Deserialize, Serialize)]
struct Report {
    native: String,
    generic: String,
    egress: String,
    frags: bool,
    verified: Costs,
    /// Programs this kernel does without, and why.
    #[serde(default)]
    absent: BTreeMap<String, String>,
}

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row {
    series: String,
    release: String,
    passed: bool,
    seconds: f64,
    report: Option<Report>,
}

pub(crate) fn run(consent: Consent, versions: &[String], json: Option<&Path>) -> Result<()> {
    ensure!(std::env::consts::ARCH == "x86_64", "the kernels are for amd64");
    tools(consent, &[])?;
    let tests = tests(consent)?;
    let folder = shell::target()?.join("kernels");
    shell::step("kernels of the archive this machine is configured for");
    let archive = Archive::open(&folder)?;
    let mut kernels = archive.kernels()?;
    if !versions.is_empty() {
        let there = kernels
            .iter()
            .map(archive::Package::series)
            .collect::<Vec<_>>()
            .join(", ");
        for wanted in versions {
            ensure!(
                kernels.iter().any(|kernel| kernel.series() == *wanted),
                "the archive has no kernel {wanted}; it has {there}"
            );
        }
        kernels.retain(|kernel| versions.contains(&kernel.series()));
    }
    let common = image::common(&[("tests", &tests)])?;
    let mut rows = Vec::new();
    for kernel in kernels {
        shell::step(&format!("Linux {}", kernel.version));
        let root = archive.fetch(&kernel)?;
        rows.push(one(&kernel, &root, &common, &folder)?);
    }
    print(&rows);
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_vec_pretty(&rows)?).with_context(|| file.display().to_string())?;
    }
    let failed: Vec<&str> = rows
        .iter()
        .filter(|row| !row.passed)
        .map(|row| row.series.as_str())
        .collect();
    ensure!(failed.is_empty(), "failed on Linux {}; see above", failed.join(", "));
    ensure!(
        rows.len() >= AT_LEAST || !versions.is_empty(),
        "only {} kernel ran; it takes {AT_LEAST}",
        rows.len()
    );
    costs(&rows)
}

/// Why kernels cannot be booted here, unasked; `None` where they can.
pub(crate) fn unavailable(consent: Consent) -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("they are booted as amd64".to_owned());
    }
    let absent: Vec<&str> = missing(&TOOLS).iter().map(|tool| tool.package).collect();
    if !absent.is_empty() && !consent.yes && std::env::var_os("CI").is_none() {
        return Some(format!(
            "booting them takes the Debian packages {} (`--yes` installs them)",
            absent.join(" ")
        ));
    }
    let folder = shell::target().ok()?.join("kernels");
    match Archive::open(&folder).and_then(|archive| archive.kernels()) {
        Ok(_) => None,
        Err(error) => Some(format!(
            "{error:#} (`cargo xtask test-kernels` where the archive can be reached)"
        )),
    }
}

/// One kernel, from its files to its row.
fn one(kernel: &archive::Package, root: &Path, common: &[u8], folder: &Path) -> Result<Row> {
    let boot = bootable(kernel, root)?;
    let image = folder.join(format!("{}.cpio", kernel.version));
    let own = image::Own {
        kernel: root,
        modules: &image::MODULES,
        files: &[],
        init: machine::INIT,
    };
    image::write(common, &own, &image)?;
    let said = machine::boot(&boot, &image)?;
    std::fs::remove_file(&image)?;
    let report = said.report.as_deref().map(serde_json::from_str).transpose();
    let report: Option<Report> = report.context("the kernel's report cannot be read")?;
    let passed = said.code == Some(0) && report.is_some();
    if !passed {
        eprintln!("{}", said.tail.join("\n"));
    }
    Ok(Row {
        series: kernel.series(),
        release: said.release.unwrap_or_else(|| kernel.version.clone()),
        passed,
        seconds: said.took.as_secs_f64(),
        report,
    })
}

/// The kernel in what was unpacked of its packages.
fn bootable(kernel: &archive::Package, root: &Path) -> Result<PathBuf> {
    find_file(root, &|name| name == "vmlinuz" || name.starts_with("vmlinuz-"))
        .with_context(|| format!("the packages of {} hold no kernel", kernel.version))
}

/// Installs what is missing, where that is allowed.
fn tools(consent: Consent, beyond: &[Tool]) -> Result<()> {
    setup::compiler(consent)?;
    setup::needed(consent, &[&TOOLS, beyond].concat(), "to boot kernels with")
}

/// Builds the kernel tests with the kernel programs in them.
fn tests(consent: Consent) -> Result<PathBuf> {
    run::kernel_programs(consent)?;
    shell::step("kernel tests");
    let mut build = shell::cargo([
        "test",
        "--locked",
        "--package",
        "sentinel",
        "--test",
        "kernel",
        "--no-run",
    ])?;
    let out = build
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    ensure!(out.status.success(), "the kernel tests cannot be built");
    executable(&String::from_utf8_lossy(&out.stdout)).context("cargo does not tell where the kernel tests are")
}

/// The last executable in cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    messages.filter_map(|message: Message| message.executable).next_back()
}

/// The first file below a folder whose name is wanted.
fn find_file(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    entries.iter().find_map(|entry| {
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            find_file(&entry.path(), wanted)
        } else {
            (kind.is_file() && wanted(&entry.file_name().to_string_lossy())).then(|| entry.path())
        }
    })
}

fn print(rows: &[Row]) {
    println!(
        "\n{:<26} {:>6} {:<8} {:<9} {:<11} {:<7} {:<6} {:>6}   verifier instructions",
        "kernel", "loads", "native", "generic", "exact drops", "expiry", "egress", "s"
    );
    for row in rows {
        let yes = |does: bool| if does { "yes" } else { "NO" };
        let Some(report) = &row.report else {
            println!("{:<26} {:>6}   (see above)", row.release, "FAILED");
            continue;
        };
        let costs: Vec<String> = report.verified.iter().map(|(name, n)| format!("{name} {n}")).collect();
        println!(
            "{:<26} {:>6} {:<8} {:<9} {:<11} {:<7} {:<6} {:>6.1}   {}",
            row.release,
            "yes",
            yes(report.native == "native"),
            yes(report.generic == "generic"),
            yes(row.passed),
            yes(row.passed),
            report.egress,
            row.seconds,
            if costs.is_empty() {
                "-".to_owned()
            } else {
                costs.join(", ")
            },
        );
        for (program, why) in &report.absent {
            println!("{:<26} without {program}: {why}", "");
        }
    }
}

/// Compares with the committed figures. A kernel or program that is not among them yet is told, not judged.
fn costs(rows: &[Row]) -> Result<()> {
    let file = ebpf::root()?.join(COSTS);
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let known: BTreeMap<String, Costs> = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    let mut grown = Vec::new();
    for row in rows {
        for (program, now) in row.report.iter().flat_map(|report| &report.verified) {
            match known.get(&row.series).and_then(|costs| costs.get(program)) {
                None => println!("{COSTS} has no figure for {program} on {}: {now}", row.series),
                Some(before) if now * 100 > before * (100 + GROWTH) => {
                    grown.push(format!("{program} on {}: {before} → {now}", row.series));
                }
                Some(_) => {}
            }
        }
    }
    if !grown.is_empty() {
        bail!(
            "the verifier walks over {GROWTH} % more than {COSTS} says, and its limit is a million: {}",
            grown.join("; ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_are_found_in_what_cargo_says() {
        let said = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                    {\"reason\":\"compiler-artifact\",\"executable\":\"/t/kernel-1\"}\n{\"reason\":\"build-finished\"}\n";
        assert_eq!(executable(said), Some(PathBuf::from("/t/kernel-1")));
    }

    #[test]
    fn the_committed_figures_are_read_and_far_from_the_limit() {
        let known: BTreeMap<String, Costs> = serde_json::from_str(include_str!("../../verifier.json")).expect("JSON");
        assert!(
            known.values().flat_map(Costs::values).all(|n| *n < 700_000),
            "{known:?}"
        );
    }
}
