//! The libraries of the dashboard, fetched once and kept in the repository: no build step, no network at run time.
//!
//! Packages come from npm at the versions named here. Imports by name become relative, since a page without a bundler has
//! nobody to resolve them, and the digests of all files are written beside them for a test to hold.

use crate::shell::{run, step, succeeds};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Package and version.
const PACKAGES: &[&str] = &[
    "preact@11.2.0",
    "htm@3.1.1",
    "@preact/signals@2.11.4",
    "@preact/signals-core@1.14.5",
    "uplot@1.6.32",
    "axe-core@4.14.1",
];

/// Where the dashboard keeps them.
const HOME: &str = "sentinel/src/api/web/vendor";

/// Where the accessibility check is kept; only tests have it.
const TESTS: &str = "sentinel/src/api/testdata/axe";

/// Name here, and where it is among the packages.
const FILES: &[(&str, &str)] = &[
    ("preact.mjs", "preact/dist/preact.mjs"),
    ("hooks.mjs", "preact/hooks/dist/hooks.mjs"),
    ("htm.mjs", "htm/dist/htm.mjs"),
    ("signals-core.mjs", "@preact/signals-core/dist/signals-core.mjs"),
    ("signals.mjs", "@preact/signals/dist/signals.mjs"),
    ("uplot.mjs", "uplot/dist/uPlot.iife.min.js"),
    ("uplot.css", "uplot/dist/uPlot.min.css"),
    ("LICENSE.preact", "preact/LICENSE"),
    ("LICENSE.htm", "htm/LICENSE"),
    ("LICENSE.signals", "@preact/signals/LICENSE"),
    ("LICENSE.uplot", "uplot/LICENSE"),
];

const TEST_FILES: &[(&str, &str)] = &[("axe.min.js", "axe-core/axe.min.js"), ("LICENSE", "axe-core/LICENSE")];

/// What a name in an import becomes.
const NAMES: &[(&str, &str)] = &[
    ("\"@preact/signals-core\"", "\"./signals-core.mjs\""),
    ("\"preact/hooks\"", "\"./hooks.mjs\""),
    ("\"preact\"", "\"./preact.mjs\""),
];

/// Fetches the packages anew and rewrites both folders.
pub(crate) fn vendor() -> Result<()> {
    ensure!(
        succeeds("npm", &["--version"]),
        "npm is missing: `apt-get install npm` (only this verb needs it)"
    );
    let root = crate::ebpf::root()?;
    let place = root.join("target/vendor-web");
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    step("fetching the dashboard's libraries");
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--prefix",
    ]);
    run(npm.arg(&place).args(PACKAGES))?;
    let packages = place.join("node_modules");
    keep(&packages, FILES, &root.join(HOME))?;
    keep(&packages, TEST_FILES, &root.join(TESTS))?;
    std::fs::remove_dir_all(&place).context("target/vendor-web stays")
}

fn keep(packages: &Path, files: &[(&str, &str)], home: &Path) -> Result<()> {
    std::fs::create_dir_all(home)?;
    let mut digests = Command::new("sha256sum");
    digests.current_dir(home);
    for (name, from) in files {
        let from = packages.join(from);
        let text =
            std::fs::read_to_string(&from).with_context(|| format!("{} is not in its package", from.display()))?;
        std::fs::write(home.join(name), rewritten(name, text))?;
        digests.arg(name);
    }
    let told = digests.output().context("`sha256sum` cannot be run")?;
    ensure!(told.status.success(), "`sha256sum` failed");
    std::fs::write(home.join("SHA256SUMS"), told.stdout)?;
    Ok(())
}

/// As a module that finds its neighbours.
fn rewritten(name: &str, mut text: String) -> String {
    // Maps are not kept, and a browser would ask for them.
    if let Some(map) = text.rfind("//# sourceMappingURL=") {
        text.truncate(map);
    }
    if Path::new(name).extension().is_some_and(|kind| kind == "mjs") {
        for (bare, relative) in NAMES {
            text = text.replace(&format!("from{bare}"), &format!("from{relative}"));
        }
    }
    if name == "uplot.mjs" {
        let _ = writeln!(text, "\nexport default uPlot;");
    }
    text
}
