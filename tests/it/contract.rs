//! The API keeps its word: schemathesis reads the running agent's own document and asks whatever that allows, and much
//! that it does not.
//!
//! schemathesis comes from PyPI into a folder under `target/`, once; without Python or PyPI the test is skipped.

use crate::scene::Scene;
use serde_json::{Value, json};

use std::time::Duration;
use testbed::{child, pypi};

/// Of PyPI; one minor release, so that a new one does not change what is asked.
const PACKAGE: &str = "schemathesis==4.32.*";

/// For all that is asked; some 40 s on two processors.
const RUN: Duration = Duration::from_mins(15);

/// Cases that are asked at least.
const CASES: u64 = 2000;

const PORT: &str = "http://127.0.0.1:8000";

#[test]
fn no_request_that_the_document_allows_or_forbids_is_answered_otherwise_than_it_says() {
    let Some(mut scene) = Scene::new(&json!({ "api": { "crowdsec": true } })) else {
        return;
    };
    let program = match pypi::program(PACKAGE, "st") {
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
        "--request-timeout=60",
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
    eprintln!("figure: cases = {}", asked.unwrap_or(0));
    assert_eq!(scene.agent.get("/health/live").expect("alive")["status"], "live");
    let verdict = scene.agent.get("/audit/verify").expect("the audit");
    assert_eq!(verdict["broken"], Value::Null);
    let log = scene.agent.log();
    for word in ["panicked", "request failed"] {
        assert!(!log.contains(word), "{log}");
    }
}
