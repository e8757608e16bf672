//! A secret in every place of the settings that holds one, each of its own kind, and an agent that tells all it can
//! (`trace`) while everything it talks to answers wrongly, and repeats what it was told. None is found anywhere but at
//! whoever it is for.

use crate::scene::{SOON, agent_or_skip, knock};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use testbed::agent::Agent;
use testbed::child::Child;
use testbed::lab::Services;
use testbed::net::{Host, Network};
use testbed::wait;

/// Where everything that answers is played, and the mail server.
const PORT: u16 = 8089;
const MAIL: u16 = 2526;
/// An attacker whom sources may be asked about; nothing of this leaves the namespaces.
const BAD: Ipv4Addr = Ipv4Addr::new(45, 33, 32, 10);

/// Answers whatever it is asked with what it was told, as an error, elsewhere, as JSON that is none, and well; and writes it down.
const ECHO: &str = r#"
import http.server, socketserver, sys, threading, base64
port, mail, log = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
lock, count = threading.Lock(), [0]
def note(text):
    with lock, open(log, "a") as out:
        out.write(text + "\n")
class Echo(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = self.path + " " + " ".join(f"{k}: {v}" for k, v in self.headers.items())
        note(told)
        with lock:
            count[0] += 1
            turn = count[0] % 5
        status = (500, 401, 302, 200, 429)[turn]
        text = ('{"error": "' + told + '", "message": "' + told + '"') + ("}" if turn != 3 else "")
        self.send_response(status, told.replace("\n", " ")[:200])
        self.send_header("Location", "http://127.0.0.1:%d/again?%s" % (port, self.path))
        self.send_header("X-Told", told.replace("\n", " ")[:900])
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())
    do_GET = do_POST = do_PUT = answer
    def handle_one_request(self):
        first = self.connection.recv(1, 0x2)
        if first != b"*":
            return super().handle_one_request()
        self.close_connection = True
        told = self.connection.recv(65536).replace(b"\r\n", b" ").decode(errors="replace")
        note(told)
        self.connection.sendall(b"-ERR no: " + told.encode() + b"\r\n")
    def log_message(self, *a): pass
class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        say = lambda text: self.wfile.write(text.encode() + b"\r\n")
        say("220 mail")
        while line := self.rfile.readline().decode(errors="replace").strip():
            if line.startswith("EHLO"):
                say("250-mail"); say("250 AUTH PLAIN LOGIN")
            elif line.startswith("AUTH"):
                note("mail " + base64.b64decode(line.split()[-1]).decode(errors="replace"))
                say("535 5.7.8 no: " + line + " " + base64.b64decode(line.split()[-1]).decode().replace("\0", " "))
            else:
                say("221 bye" if line.startswith("QUIT") else "502 no")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
threading.Thread(target=Server(("127.0.0.1", mail), Mail).serve_forever, daemon=True).start()
Server(("127.0.0.1", port), Echo).serve_forever()
"#;

/// Keys of the settings that name a file with a secret in it, and what it is for.
const FILES: &[(&[&str], &str)] = &[
    (&["alerting", "email", "password_file"], "mail"),
    (&["alerting", "slack", "url_file"], "slack"),
    (&["alerting", "webhook", "secret_file"], "hook"),
    (&["bettercap", "password_file"], "cap"),
    (&["export", "elasticsearch", "api_key_file"], "elastic"),
    (&["export", "elasticsearch", "password_file"], "elasticpass"),
    (&["export", "splunk", "token_file"], "splunk"),
    (&["fleet", "key_file"], "fleetkey"),
    (&["fleet", "password_file"], "fleetpass"),
    (&["intel", "feeds", "crowdsec", "key_file"], "crowdsec"),
    (&["intel", "sources", "virustotal", "key_file"], "virustotal"),
    (&["intel", "sources", "abuseipdb", "key_file"], "abuseipdb"),
    (&["intel", "sources", "otx", "key_file"], "otx"),
    (&["intel", "sources", "ipqualityscore", "key_file"], "ipqs"),
    (&["intel", "sources", "threatcrowd", "key_file"], "threatcrowd"),
];

/// Secrets that stand in the settings themselves, and in the environment.
const OTHERS: [&str; 6] = ["hookurl", "header", "cache", "feed", "greynoise", "headerb"];

/// A secret, and how it would look in other dress.
fn canary(name: &str) -> String {
    format!("c4n4ry{name}7f3a91d2e8b64c05f7a19")
}

/// What of a secret is looked for: its middle, whatever it is encoded with.
fn dresses() -> Vec<(String, Vec<u8>)> {
    let names = FILES.iter().map(|(_, name)| *name).chain(OTHERS);
    let mut all = Vec::new();
    for name in names {
        let secret = canary(name);
        all.push((name.to_owned(), secret.clone().into_bytes()));
        for skip in 0..3 {
            let text = base64(&secret.as_bytes()[skip..]);
            all.push((format!("{name} (base64)"), text[..24].to_owned().into_bytes()));
        }
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| char::from(LETTERS[(bits & 63) as usize]);
    bytes
        .chunks_exact(3)
        .flat_map(|three| {
            let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
            [18, 12, 6, 0].map(|shift| letter(bits >> shift))
        })
        .collect()
}

#[track_caller]
fn untold(place: &str, text: &[u8]) {
    for (name, secret) in dresses() {
        let Some(at) = text.windows(secret.len()).position(|part| part == secret) else {
            continue;
        };
        let around = &text[at.saturating_sub(400)..(at + 100).min(text.len())];
        panic!("{name} is told in {place}: …{}…", String::from_utf8_lossy(around));
    }
}

fn prepared(binary: &Path, host: &Host) -> anyhow::Result<Agent> {
    let agent = Agent::prepare(binary, host, &json!({}))?;
    std::fs::create_dir(agent.path("secrets"))?;
    let here = format!("http://127.0.0.1:{PORT}");
    let set = |path: &[&str], value: Value| agent.set(path, value);
    for source in [
        "virustotal",
        "abuseipdb",
        "otx",
        "ipqualityscore",
        "greynoise",
        "threatcrowd",
    ] {
        set(&["intel", "sources", source], json!({ "enabled": true, "url": here }))?;
    }
    set(
        &["intel", "cache"],
        json!(format!("redis://:{}@127.0.0.1:{PORT}/1", canary("cache"))),
    )?;
    set(
        &["intel", "feeds", "custom"],
        json!([format!("mine={here}/list?key={}", canary("feed"))]),
    )?;
    set(&["intel", "feeds", "crowdsec"], json!({ "url": here }))?;
    set(
        &["bettercap"],
        json!({ "url": format!("ws://127.0.0.1:{PORT}"), "username": "user" }),
    )?;
    set(&["bus"], json!(format!("redis://127.0.0.1:{PORT}/0")))?;
    set(&["fleet"], json!({ "name": "here" }))?;
    set(
        &["export"],
        json!({
            "eve": { "file": agent.path("eve.json") },
            "elasticsearch": { "enabled": true, "url": here },
            "splunk": { "enabled": true, "url": here },
        }),
    )?;
    set(
        &["alerting"],
        json!({
            "file": { "path": agent.path("alerts.jsonl") },
            "email": {
                "host": "127.0.0.1", "port": MAIL, "security": "none", "user": "sentinel", "from": "s@example.org",
                "to": ["soc@example.org"], "timeout": "3s",
            },
            "slack": { "timeout": "2s" },
            "webhook": {
                "url": format!("{here}/hook?token={}", canary("hookurl")), "timeout": "2s",
                "headers": [format!("Authorization: Bearer {}", canary("header")), format!("X-Key: {}", canary("headerb"))],
            },
            "severity_routing": { "high": ["file", "email", "slack", "webhook"], "medium": ["file", "email", "slack", "webhook"] },
        }),
    )?;
    for (path, name) in FILES {
        let file = agent.path("secrets").join(name);
        let secret = canary(name);
        let text = if *name == "slack" {
            format!("{here}/slack/{secret}")
        } else {
            secret
        };
        std::fs::write(&file, text)?;
        set(path, json!(file))?;
    }
    Ok(agent)
}

/// Starts it with everything told, and the one secret that comes by the environment.
fn begin(agent: &mut Agent) -> anyhow::Result<()> {
    let by_environment = format!("GREYNOISE_API_KEY={}", canary("greynoise"));
    agent.begin(&["env", "RUST_LOG=trace", "RUST_BACKTRACE=full", &by_environment])?;
    wait::until("the agent to be ready", SOON * 6, || {
        anyhow::ensure!(agent.ended()?.is_none(), "it ended:\n{}", agent.log());
        Ok(agent.ready().then_some(()))
    })
}

/// Every file below, its secrets and settings apart.
fn left_behind(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() != "secrets" => left_behind(&path, found),
            Ok(kind) if kind.is_file() && entry.file_name() != "settings.yml" && entry.file_name() != "told" => {
                found.push(path);
            }
            _ => {}
        }
    }
}

#[test]
fn no_secret_is_told_anywhere_whatever_goes_wrong_and_however_much_is_logged() {
    let Some(binary) = agent_or_skip() else { return };
    let mut network = Network::new().expect("a network");
    let protected = network.host("protected", 1).expect("a host");
    let other = network.host("other", 9).expect("a host");
    for (host, line) in [
        (&other, format!("ip addr add {BAD}/32 dev eth0")),
        (&protected, "ip route add 45.33.32.0/24 dev eth0".to_owned()),
    ] {
        host.run(&line, SOON).expect("addresses");
    }
    let _services = Services::start(&protected).expect("services");
    let mut agent = prepared(&binary, &protected).unwrap_or_else(|error| panic!("{error:#}"));
    let told = agent.path("told");
    let (port, mail) = (PORT.to_string(), MAIL.to_string());
    let play = ["-c", ECHO, &port, &mail, told.to_str().expect("UTF-8")];
    let _echo = Child::spawn(protected.program("python3", &play)).expect("python3");

    // What is read before anything is opened.
    let said = agent.cli(&["check"]).expect("check");
    assert_eq!(said.code, 0, "{}", said.output);
    untold("`sentinel check`", said.output.as_bytes());
    begin(&mut agent).unwrap_or_else(|error| panic!("{error:#}"));

    // An attack: a decision, questions to the world, messages and exports, all of which go wrong.
    knock(&other, BAD.into(), &protected);
    let scan = format!(
        "nmap -n -Pn -sS -e eth0 -S {BAD} --max-retries 0 -p 1-40 {}",
        protected.v4
    );
    other.run(&scan, SOON * 3).expect("nmap");
    wait::until("an alert", SOON, || {
        Ok((!agent.alerts(BAD.into())?.is_empty()).then_some(()))
    })
    .expect("an alert");
    for command in [
        &["notifications", "test"][..],
        &["intel", "check", "45.33.32.10"],
        &["intel", "status"],
        &["decisions", "list"],
        &["alerts", "list"],
        &["-o", "json", "check"],
        &["doctor"],
        &["fleet", "status"],
    ] {
        let said = agent.cli(command).expect("runs");
        untold(&format!("`sentinel {}`", command.join(" ")), said.output.as_bytes());
    }
    for ending in ["pdf", "html", "json"] {
        let out = agent.path(&format!("report.{ending}"));
        let said = agent.cli(&["report", "--since", "1d", "--out", out.to_str().expect("UTF-8")]);
        let said = said.expect("runs");
        assert_eq!(said.code, 0, "{}", said.output);
    }
    agent.set(&["response"], json!({ "duration": "17m" })).expect("set");
    std::fs::write(agent.path("secrets/hook"), canary("hook") + "new").expect("another secret");
    let said = agent.cli(&["reload"]).expect("reload");
    untold("`sentinel reload`", said.output.as_bytes());

    // Whoever a secret is for was told it: without that nothing would be shown.
    let sent = [
        "mail",
        "slack",
        "header",
        "hookurl",
        "feed",
        "greynoise",
        "abuseipdb",
        "otx",
        "virustotal",
        "ipqs",
        "elastic",
        "splunk",
        "crowdsec",
        "fleetpass",
        "cache",
    ];
    let heard = wait::until("every secret to be sent to whoever it is for", SOON * 3, || {
        let text = std::fs::read_to_string(&told)?;
        Ok(sent.iter().all(|name| text.contains(&canary(name))).then_some(text))
    });
    if let Err(error) = heard {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let missing: Vec<_> = sent.iter().filter(|name| !text.contains(&canary(name))).collect();
        panic!("{error:#}: {missing:?}");
    }

    // Every path that can be asked without knowing more.
    let document = agent.get("/openapi.json").expect("the document");
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut asked = 0;
    for (path, methods) in &paths {
        if methods.get("get").is_some() && !path.contains('{') && path != "/stream" {
            let answer = agent.request("GET", path, None).expect("answers");
            untold(&format!("GET {path}"), answer.text.as_bytes());
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked} paths");

    // What everybody on the machine sees of the process, and what only its owner does.
    let pid = agent.pid().expect("it runs");
    for file in ["cmdline", "comm", "status", "maps"] {
        untold(file, &std::fs::read(format!("/proc/{pid}/{file}")).expect("readable"));
    }
    // A person put one secret there; no other is added.
    let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("readable");
    let environment = String::from_utf8_lossy(&environment).replace(&canary("greynoise"), "");
    untold("environ", environment.as_bytes());

    let log = agent.stop().expect("ends").output;
    assert!(
        log.contains("TRACE"),
        "nothing is told of what it does: {}",
        &log[..log.len().min(2_000)]
    );
    untold("the log", log.as_bytes());
    let mut files = Vec::new();
    left_behind(&agent.path(""), &mut files);
    let names: BTreeSet<String> = files
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    for expected in ["sentinel.db", "eve.json", "alerts.jsonl", "report.pdf"] {
        assert!(names.contains(expected), "{expected} is not among {names:?}");
    }
    for file in files {
        untold(&file.display().to_string(), &std::fs::read(&file).expect("readable"));
    }
    eprintln!("figure: secrets = {}", FILES.len() + OTHERS.len());
    eprintln!("figure: log = {} bytes", log.len());
    eprintln!("figure: hits = 0");
}

/// A key that is added to the settings is one more place for a secret.
#[test]
fn every_file_with_a_secret_that_the_settings_name_is_among_them() {
    let settings = include_str!("../../config/settings.yml");
    let mut named: Vec<String> = Vec::new();
    for line in settings.lines() {
        let code = line.split('#').next().unwrap_or_default();
        for key in code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if key.ends_with("_file") && key != "ca_file" {
                named.push(key.to_owned());
            }
        }
    }
    // The key of the one source that comes by the environment.
    let mut ours: Vec<String> = FILES
        .iter()
        .map(|(path, _)| (*path.last().expect("a key")).to_owned())
        .collect();
    ours.push("key_file".to_owned());
    named.sort();
    ours.sort();
    assert_eq!(named, ours);
}
