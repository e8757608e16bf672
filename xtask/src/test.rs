//! `cargo xtask test`: everything that proves the project, and what was left out and why.

use crate::{Consent, lint, run, setup, shell, tidy};
use anyhow::Result;

pub(crate) fn run(consent: Consent, quick: bool) -> Result<()> {
    setup::compiler()?;
    lint::format()?;
    lint::clippy()?;
    shell::step("tidy");
    tidy::run()?;

    let mut skipped = Vec::new();
    if quick {
        skipped.push("kernel programs, network namespaces, real tools: --quick leaves them out");
        shell::step("unit and property tests");
        let packages = [
            "--package",
            "sentinel-common",
            "--package",
            "sentinel",
            "--package",
            "xtask",
        ];
        shell::run(
            shell::cargo(["test", "--locked"])?
                .args(packages)
                .env("TESTBED_SKIP", "--quick"),
        )?;
    } else {
        setup::tools(consent)?;
        // The integration tests run the real binary, with the kernel programs in it.
        run::build(consent, false)?;
        shell::step("unit, property, kernel and integration tests");
        let mut tests = shell::cargo(["test", "--locked", "--workspace", "--no-fail-fast"])?;
        tests.env("TESTBED_REQUIRE", "1");
        if !shell::is_root() {
            // Cargo builds as the user and runs the built tests through sudo.
            let runner = format!(
                "CARGO_TARGET_{}_RUNNER",
                shell::host()?.to_uppercase().replace('-', "_")
            );
            tests.env(
                runner,
                "sudo --preserve-env=RUST_LOG,CI,TESTBED_REQUIRE,CARGO_MANIFEST_DIR --",
            );
        }
        shell::run(&mut tests)?;
    }
    skipped.push("browser, fleet and power-cut tests: they come with the parts they test");
    for line in skipped {
        eprintln!("skipped: {line}");
    }
    Ok(())
}
