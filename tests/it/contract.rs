//! The API keeps its word: schemathesis reads the running agent's own document and asks whatever that allows, and much
//! that it does not.
//!
//! schemathesis comes from PyPI into a folder under `target/`, once; without Python or PyPI the test is skipped.

use crate::scene::Scene;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use testbed::child;

/// Of PyPI; one minor release, so that a new one does not change what is asked.
const PACKAGE: &str = "schemathesis==4.32.*";

/// For a slow network, once.
const INSTALL: Duration = Duration::from_mins(5);

/// For all that is asked; some 40 s on two processors.
const RUN: Duration = Duration::from_mins(4);

/// Cases that are asked at least.
const CASES: u64 = 2000;

const PORT: &str = "http://127.0.0.1:8000";

/// The program, installed where it was not yet.
fn schemathesis() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = own.ancestors().find(|dir| dir.ends_with("target"));
    let target = target.ok_or("the test does not lie under `target/`")?;
    let folder = target.join("schemathesis");
    let (program, marker) = (folder.join("bin/st"), folder.join("installed"));
    if std::fs::read_to_string(&marker).is_ok_and(|what| what == PACKAGE) {
        return Ok(program);
    }
    let run = |program: &Path, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        match child::run(command, INSTALL) {
            Ok(done) if done.code == 0 => Ok(()),
            Ok(done) => Err(done.output.lines().last().unwrap_or_default().to_owned()),
            Err(error) => Err(format!("{error:#}").lines().next().unwrap_or_default().to_owned()),
        }
    };
    let place = folder.to_str().ok_or("the path of `target/` is not UTF-8")?;
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--upgrade",
        "--target",
        place,
        PACKAGE,
    ];
    run(Path::new("python3"), &install)
        .map_err(|why| format!("{PACKAGE} cannot be had from PyPI (python3-pip is needed, too): {why}"))?;
    std::fs::write(&marker, PACKAGE).map_err(|error| error.to_string())?;
    Ok(program)
}

#[test]
fn no_request_that_the_document_allows_or_forbids_is_answered_otherwise_than_it_says() {
    let Some(mut scene) = Scene::new(&json!({ "api": { "crowdsec": true } })) else {
        return;
    };
    let program = match schemathesis() {
        Ok(program) => program,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let made = scene
        .agent
        .cli(&["token", "create", "contract", "--role", "admin"])
        .expect("made");
    let token = made.output.lines().find(|line| line.starts_with("sntl_"));
    let token = token.unwrap_or_else(|| panic!("no token: {}", made.output)).to_owned();
    let made = scene.agent.cli(&["token", "create", "edge", "--role", "bouncer"]);
    let made = made.expect("made").output;
    let key = made.lines().find(|line| line.starts_with("sntl_"));
    let key = format!("X-Api-Key: {}", key.unwrap_or_else(|| panic!("no key: {made}")));
    let folder = scene.agent.path("contract");
    std::fs::create_dir(&folder).expect("a folder");
    let header = format!("Authorization: Bearer {token}");
    let document = format!("{PORT}/openapi.json");
    let args = [
        "run",
        &document,
        "--header",
        &header,
        "--header",
        &key,
        // Cases of the document, its limits, and what chance makes of it, also wrong on purpose.
        "--phases=examples,coverage,fuzzing",
        "--mode=all",
        "--max-examples=12",
        "--seed=7",
        // Not `ignored_auth`: whoever guesses is soon answered 429, as the document says, and it wants 401 for ever.
        "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
         response_schema_conformance,unsupported_method,allow_header_conformance,missing_required_header",
        "--continue-on-failure",
        "--no-color",
        "--request-timeout=20",
        "--suppress-health-check=all",
    ];
    let mut run = scene.protected.program(program.to_str().expect("UTF-8"), &args);
    run.current_dir(&folder);
    // Where its libraries lie beside it.
    let libraries = program.ancestors().nth(2).expect("two folders up");
    run.env("PYTHONPATH", libraries);
    let done = child::run(run, RUN).expect("schemathesis runs");
    assert_eq!(done.code, 0, "{}", done.output);
    eprintln!("{}", done.output);

    // It ran to its end and asked enough, and the agent is as well as before.
    let asked = done.output.lines().find_map(|line| {
        let (count, _) = line.trim().split_once(" generated")?;
        count.parse::<u64>().ok()
    });
    assert!(asked.is_some_and(|cases| cases >= CASES), "{asked:?}\n{}", done.output);
    assert_eq!(scene.agent.get("/health/live").expect("alive")["status"], "live");
    let verdict = scene.agent.get("/audit/verify").expect("the audit");
    assert_eq!(verdict["broken"], Value::Null);
    let log = scene.agent.log();
    for word in ["panicked", "request failed"] {
        assert!(!log.contains(word), "{log}");
    }
}
