//! A real Prometheus scrapes a real agent: what the shipped dashboard and alert rules ask is answered.

use crate::scene::{SOON, Scene};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use testbed::child::{self, Child};
use testbed::net::Host;
use testbed::tools::{self, PROMETHEUS};
use testbed::wait;

/// Whom sources may be asked about; nothing of this leaves the namespace.
const ASKED: &str = "45.33.32.10";
/// Where a source is played.
const SOURCE: u16 = 8089;
/// Panels whose numbers must have moved in the scene, beside being there.
const MOVED: &[&str] = &[
    "Packets in, by verdict",
    "Bytes in, by verdict",
    "Drops, by reason",
    "Ring",
    "From evidence to the first dropped packet",
    "In force",
    "Quota left",
];

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)
}

/// A Prometheus on loopback of the protected host, with the shipped files.
struct Prometheus {
    _child: Child,
    host: Host,
}

impl Prometheus {
    fn start(host: &Host, dir: &Path) -> Result<Self> {
        let config = std::fs::read_to_string(shipped("prometheus/prometheus.yml"))?;
        // All as it ships but for the pace.
        let quick = config.replace("interval: 15s", "interval: 3s");
        ensure!(quick != config, "the pace is not where it was");
        std::fs::write(dir.join("prometheus.yml"), quick)?;
        std::fs::copy(shipped("prometheus/alerts.yml"), dir.join("alerts.yml"))?;
        let file = format!("--config.file={}", dir.join("prometheus.yml").display());
        let data = format!("--storage.tsdb.path={}", dir.join("data").display());
        let listen = "--web.listen-address=127.0.0.1:9090";
        let mut child = Child::spawn(host.program("prometheus", &[&file, &data, listen]))?;
        let ready = wait::until("Prometheus to be ready", SOON * 3, || {
            ensure!(child.ended()?.is_none(), "it ended");
            let asked = host.run("curl -sf http://127.0.0.1:9090/-/ready", SOON)?;
            Ok((asked.code == 0).then_some(()))
        });
        ready.map_err(|error| error.context(child.output()))?;
        Ok(Self {
            _child: child,
            host: host.clone(),
        })
    }

    fn get(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value> {
        let url = format!("http://127.0.0.1:9090/api/v1/{path}");
        let mut args = vec!["-s", "-G", url.as_str()];
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        for field in &fields {
            args.extend(["--data-urlencode", field]);
        }
        let said = child::run(self.host.program("curl", &args), SOON)?;
        let answer: Value = serde_json::from_str(&said.output).with_context(|| said.output.clone())?;
        ensure!(answer["status"] == "success", "{answer}");
        Ok(answer)
    }

    /// The numbers of an instant query; what is none (no observations) is left out.
    fn query(&self, expression: &str) -> Result<Vec<f64>> {
        let answer = self.get("query", &[("query", expression)])?;
        let series = answer["data"]["result"].as_array().context("no result")?;
        let numbers = series.iter().filter_map(|one| one["value"][1].as_str()?.parse().ok());
        Ok(numbers.filter(|number: &f64| number.is_finite()).collect())
    }
}

/// Every query of the dashboard with its panel's title, its variables filled in.
fn queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(shipped("grafana/dashboards/sentinel.json")).expect("the dashboard");
    let board: Value = serde_json::from_str(&text).expect("JSON");
    let variables = board["templating"]["list"].as_array().expect("variables");
    assert!(variables.iter().any(|one| one["name"] == "instance"), "no `instance`");
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert_eq!(panel.get("targets").is_none(), panel["type"] == "row", "{title}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            assert!(expression.contains("$instance"), "{title} does not heed the choice");
            assert_eq!(target["datasource"]["uid"], "sentinel", "{title}");
            let filled = expression.replace("$instance", ".*").replace("$__rate_interval", "30s");
            queries.push((title.to_owned(), filled));
        }
    }
    queries
}

/// Words of an expression that name a metric of ours.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    expression.split(word).filter(|word| word.starts_with("sentinel_"))
}

/// Names of the agent's series, as they are written in queries: a test of its own holds this document to the registry.
fn declared() -> BTreeSet<String> {
    let text = std::fs::read_to_string(shipped("../docs/metrics.md")).expect("docs/metrics.md");
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| `sentinel_")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        let endings: &[&str] = if cells[2] == "histogram" {
            &["_bucket", "_sum", "_count"]
        } else {
            &[""]
        };
        names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    names
}

/// Something of everything: traffic, an attack, a veto, an undo, a source asked twice, a log-in refused.
fn happen(scene: &Scene) -> Result<()> {
    let (agent, other, protected) = (&scene.agent, &scene.other, &scene.protected);
    let own = agent.cli(&["decisions", "add", "--ip", "192.0.2.254", "--reason", "test"])?;
    ensure!(own.code != 0, "the gateway was blocked");
    for _ in 0..2 {
        let said = agent.cli(&["intel", "check", ASKED])?;
        ensure!(said.code == 0, "{}", said.output);
    }
    let guess = [
        "-s",
        "-o",
        "/dev/null",
        "-X",
        "POST",
        "-H",
        "content-type: application/json",
        "-d",
        r#"{"token": "sntl_guess"}"#,
        "http://127.0.0.1:8000/login",
    ];
    child::run(protected.program("curl", &guess), SOON)?;
    agent.cli(&["decisions", "add", "--ip", "192.0.2.77", "--reason", "test"])?;
    agent.cli(&["decisions", "delete", "--ip", "192.0.2.77"])?;
    scene.knock(other.v4.into());
    let scan = format!("nmap -n -Pn -sS --max-retries 0 -p 1-200 {}", protected.v4);
    other.run(&scan, SOON * 3)?;
    wait::until("a block", SOON, || agent.block(other.v4.into()))?;
    Ok(())
}

/// What goes on meanwhile: packets of somebody who is blocked and of somebody who is not, and something to write down.
fn go_on(scene: &Scene) -> Result<()> {
    let ping = format!("ping -c 5 -i 0.05 -W 0.1 {}", scene.protected.v4);
    scene.other.run(&ping, SOON)?;
    let ping = format!("ping -c 5 -i 0.05 -W 0.1 {}", scene.protected.v6);
    scene.other.run(&ping, SOON)?;
    let agent = &scene.agent;
    agent.cli(&["allowlist", "add", "192.0.2.78", "--comment", "test"])?;
    agent.cli(&["allowlist", "remove", "192.0.2.78"])?;
    Ok(())
}

#[test]
fn every_panel_and_every_rule_has_its_numbers() {
    if !tools::there(PROMETHEUS) {
        return;
    }
    let settings = json!({ "intel": { "sources": {
        "greynoise": { "enabled": true, "url": format!("http://127.0.0.1:{SOURCE}") },
    } } });
    let Some(scene) = Scene::new(&settings) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let answers = dir.path().join("v3/community");
    std::fs::create_dir_all(&answers).expect("a folder");
    let answer = json!({ "ip": ASKED, "noise": false, "riot": true, "classification": "benign", "name": "x",
        "last_seen": "2026-01-01", "message": "Success" });
    std::fs::write(answers.join(ASKED), answer.to_string()).expect("an answer");
    let source = format!("busybox httpd -f -p 127.0.0.1:{SOURCE} -h {}", dir.path().display());
    let _source = scene.protected.spawn(&source).expect("a source");
    let prometheus = Prometheus::start(&scene.protected, dir.path()).unwrap_or_else(|error| panic!("{error:#}"));
    wait::until("a first scrape", SOON * 2, || {
        Ok(prometheus.query("up{job=\"sentinel\"} == 1")?.first().copied())
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    happen(&scene).unwrap_or_else(|error| panic!("{error:#}"));

    let known = declared();
    let queries = queries();
    assert!(queries.len() > 30, "{}", queries.len());
    for (title, query) in &queries {
        for name in metrics(query) {
            assert!(known.contains(name), "{title}: nobody exposes {name}");
        }
    }
    let mut silent = Vec::new();
    let answered = wait::until("every panel to have data", SOON * 4, || {
        silent.clear();
        go_on(&scene)?;
        let mut moved = BTreeSet::new();
        for (title, query) in &queries {
            let numbers = prometheus.query(query).with_context(|| format!("{title}: {query}"))?;
            if numbers.is_empty() {
                silent.push(format!("{title}: {query}"));
            }
            if numbers.iter().any(|number| *number > 0.0) {
                moved.insert(title.as_str());
            }
        }
        let still = MOVED.iter().filter(|title| !moved.contains(*title));
        silent.extend(still.map(|title| format!("{title}: nothing moved")));
        Ok(silent.is_empty().then_some(()))
    });
    let exposed = scene.agent.request("GET", "/metrics", None).expect("metrics").text;
    assert!(
        answered.is_ok(),
        "{answered:?}\nno data:\n{}\n{exposed}",
        silent.join("\n")
    );

    let rules = prometheus.get("rules", &[]).expect("rules");
    let groups = rules["data"]["groups"].as_array().expect("groups");
    let rules: Vec<&Value> = groups
        .iter()
        .filter_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    assert!(rules.len() >= 16, "{rules:?}");
    let tests = std::fs::read_to_string(shipped("prometheus/alerts.test.yml")).expect("tests of the rules");
    for rule in rules {
        let (name, query) = (
            rule["name"].as_str().expect("a name"),
            rule["query"].as_str().expect("a query"),
        );
        assert_eq!(rule["health"], "ok", "{rule}");
        let named: Vec<&str> = metrics(query).collect();
        assert!(!named.is_empty() || query.starts_with("up{job=\"sentinel\""), "{rule}");
        for metric in named {
            assert!(known.contains(metric), "{name}: nobody exposes {metric}");
        }
        assert!(
            !rule["annotations"]["summary"].as_str().unwrap_or("").is_empty(),
            "{rule}"
        );
        for what in ["fires", "is silent"] {
            assert!(
                tests.contains(&format!("name: {name} {what}\n")),
                "no test that {name} {what}"
            );
        }
    }
}

#[test]
fn the_shipped_rules_hold_their_tests() {
    if !tools::there(PROMETHEUS) {
        return;
    }
    let promtool = |args: &[&str], file: &str| {
        let mut command = Command::new("promtool");
        command.args(args).arg(file).current_dir(shipped("prometheus"));
        child::run(command, Duration::from_mins(1)).expect("promtool runs")
    };
    for (args, file) in [
        (&["check", "config"][..], "prometheus.yml"),
        (&["check", "rules"], "alerts.yml"),
        (&["test", "rules"], "alerts.test.yml"),
    ] {
        let said = promtool(args, file);
        assert_eq!(said.code, 0, "{}", said.output);
    }
}
