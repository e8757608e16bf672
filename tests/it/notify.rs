//! People are told: a real mail server with STARTTLS and a log-in, a receiver of webhooks that checks signatures, syslog.

use crate::scene::{SOON, agent_or_skip, knock};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use testbed::agent::Agent;
use testbed::child::{self, Child};
use testbed::lab::Services;
use testbed::net::{Host, Network};
use testbed::tools::{MAIL, there};
use testbed::wait;

/// Attackers; nothing of this leaves the namespaces.
const FIRST: Ipv4Addr = Ipv4Addr::new(45, 33, 32, 10);
const SECOND: Ipv4Addr = Ipv4Addr::new(45, 33, 32, 20);
/// What must never be seen anywhere but at the servers.
const CANARY: &str = "canary41c7b2";

/// The one that Debian's packages are for.
const PYTHON: &str = "/usr/bin/python3";

/// A mail server that wants STARTTLS and a log-in, and keeps each message as it came.
const MAILBOX: &str = r#"
import asyncio, os, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
host, port, folder, key, certificate, password = sys.argv[1:]
class Keep:
    async def handle_DATA(self, server, session, envelope):
        n = len(os.listdir(folder))
        with open(os.path.join(folder, "part"), "wb") as out:
            out.write(envelope.original_content)
        os.rename(os.path.join(folder, "part"), os.path.join(folder, "%04d" % n))
        return "250 OK"
def log_in(server, session, envelope, mechanism, data):
    good = data.login == b"sentinel" and data.password == password.encode()
    return AuthResult(success=good, handled=False)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)
controller = Controller(Keep(), hostname=host, port=int(port), tls_context=context, require_starttls=True,
    authenticator=log_in, auth_required=True, auth_require_tls=True)
controller.start()
asyncio.new_event_loop().run_forever()
"#;

/// Takes webhooks, and Slack's; checks signatures by itself.
const RECEIVER: &str = r#"
import hashlib, hmac, http.server, json, socketserver, sys, time
host, port, log, secret = sys.argv[1:]
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        at = self.headers.get("X-Sentinel-Timestamp", "")
        code = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        signed = hmac.compare_digest("v1=" + code, self.headers.get("X-Sentinel-Signature", ""))
        fresh = at.isdigit() and abs(time.time() - int(at)) < 300
        with open(log, "a") as out:
            out.write(json.dumps({"path": self.path, "signed": signed and fresh, "body": json.loads(body)}) + "\n")
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *a): pass
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
Server((host, int(port)), Receiver).serve_forever()
"#;

/// Each message of a folder as another program reads it.
const READER: &str = r#"
import email, email.policy, json, os, sys
for name in sorted(os.listdir(sys.argv[1])):
    with open(os.path.join(sys.argv[1], name), "rb") as raw:
        m = email.message_from_binary_file(raw, policy=email.policy.default)
    part = lambda kind: m.get_body((kind,)).get_content()
    print(json.dumps({"subject": m["Subject"], "from": m["From"], "to": m["To"], "id": m["Message-ID"], "auto": m["Auto-Submitted"],
        "text": part("plain"), "html": part("html"), "defects": [str(d) for d in m.defects]}))
"#;

struct House {
    agent: Agent,
    mailbox: Option<Child>,
    _receiver: Child,
    _services: Services,
    protected: Host,
    other: Host,
    _network: Network,
}

impl House {
    fn open() -> Option<Self> {
        let binary = agent_or_skip()?;
        if !there(MAIL) {
            return None;
        }
        let built = || -> anyhow::Result<Self> {
            let mut network = Network::new()?;
            let protected = network.host("protected", 1)?;
            let other = network.host("other", 9)?;
            for address in [FIRST, SECOND] {
                other.run(&format!("ip addr add {address}/32 dev eth0"), SOON)?;
            }
            protected.run("ip route add 45.33.32.0/24 dev eth0", SOON)?;
            let services = Services::start(&protected)?;
            let agent = Agent::prepare(&binary, &protected, &json!({}))?;
            for folder in ["mail", "secrets"] {
                std::fs::create_dir(agent.path(folder))?;
            }
            let secret = |name: &str, text: &str| std::fs::write(agent.path("secrets").join(name), text);
            certificate(&agent.path("secrets"), other.v4)?;
            secret("password", &format!("{CANARY}-mail\n"))?;
            secret("webhook", &format!("{CANARY}-hook"))?;
            secret("slack", &format!("http://{}:8090/slack/{CANARY}", other.v4))?;
            let log = agent.path("received").display().to_string();
            let here = other.v4.to_string();
            let play = ["-c", RECEIVER, &here, "8090", &log, &format!("{CANARY}-hook")];
            let mut receiver = Child::spawn(other.program("python3", &play))?;
            listens(&other, 8090, &mut receiver)?;
            agent.set(
                &["alerting", "email"],
                json!({
                    "host": here, "port": 2525, "user": "sentinel", "from": "Sentinel <sentinel@example.org>", "to": ["soc@example.org"],
                    "password_file": agent.path("secrets/password"), "ca_file": agent.path("secrets/cert.pem"), "timeout": "30s",
                }),
            )?;
            agent.set(
                &["alerting", "slack"],
                json!({ "url_file": agent.path("secrets/slack") }),
            )?;
            agent.set(
                &["alerting", "webhook"],
                json!({ "url": format!("http://{here}:8090/hook"), "secret_file": agent.path("secrets/webhook") }),
            )?;
            let all = json!(["file", "email", "slack", "webhook"]);
            agent.set(
                &["alerting", "severity_routing"],
                json!({ "high": all, "medium": all, "low": ["file"] }),
            )?;
            let mut house = Self {
                agent,
                mailbox: None,
                _receiver: receiver,
                _services: services,
                protected,
                other,
                _network: network,
            };
            house.open_mailbox(&format!("{CANARY}-mail"))?;
            house.agent.launch()?;
            Ok(house)
        };
        Some(built().unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn open_mailbox(&mut self, password: &str) -> anyhow::Result<()> {
        self.mailbox = None;
        let file = |name: &str| self.agent.path(name).display().to_string();
        let (here, mail) = (self.other.v4.to_string(), file("mail"));
        let (key, certificate) = (file("secrets/key.pem"), file("secrets/cert.pem"));
        let args = ["-c", MAILBOX, &here, "2525", &mail, &key, &certificate, password];
        let mut mailbox = Child::spawn(self.other.program(PYTHON, &args))?;
        listens(&self.other, 2525, &mut mailbox)?;
        self.mailbox = Some(mailbox);
        Ok(())
    }

    fn scan(&self, from: Ipv4Addr) {
        knock(&self.other, from.into(), &self.protected);
        let line = format!(
            "nmap -n -Pn -sS -e eth0 -S {from} --max-retries 0 -p 1-20 {}",
            self.protected.v4
        );
        self.other.run(&line, SOON * 3).expect("nmap");
    }

    /// Mail that came, as another program reads it.
    fn mail(&self) -> Vec<Value> {
        let mut reader = Command::new("python3");
        reader.args(["-c", READER]).arg(self.agent.path("mail"));
        let said = child::must(reader, SOON).expect("mail that can be read");
        said.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn mail_about(&self, source: Ipv4Addr, wanted: usize) -> Vec<Value> {
        let about = |mail: &Value| {
            mail["subject"]
                .as_str()
                .is_some_and(|subject| subject.contains(&source.to_string()))
        };
        wait::until("mail", SOON * 3, || {
            let mail: Vec<_> = self.mail().into_iter().filter(about).collect();
            Ok((mail.len() >= wanted).then_some(mail))
        })
        .unwrap_or_else(|error| panic!("{error:#}: {:?} {:?}", self.mail(), self.agent.get("/notifications")))
    }

    fn until_received(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, SOON * 3, || Ok(self.received().into_iter().find(&wanted)))
            .unwrap_or_else(|error| panic!("{error:#}: {:?}", self.received()))
    }

    fn received(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.agent.path("received")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

/// Waits until a server does, on a port of a host.
fn listens(host: &Host, port: u16, server: &mut Child) -> anyhow::Result<()> {
    let look = format!("ss -ltnH 'sport = :{port}' | grep -q .");
    let there = wait::until("a server to listen", SOON, || {
        let looked = child::run(host.program("sh", &["-c", &look]), SOON)?;
        Ok((looked.code == 0).then_some(()))
    });
    there.map_err(|error| error.context(server.output()))
}

/// For an address, signed by itself.
fn certificate(folder: &Path, address: Ipv4Addr) -> anyhow::Result<()> {
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=mail", "-addext", &format!("subjectAltName=IP:{address}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"));
    child::must(openssl, SOON).map(drop)
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn people_are_told_what_was_done_and_nothing_is_lost_while_the_mail_server_is_away() {
    let Some(mut house) = House::open() else { return };

    // By every channel, from the command line.
    let said = house.agent.cli(&["notifications", "test"]).expect("runs");
    assert_eq!(said.code, 0, "{}", said.output);
    let taken = said.output.lines().filter(|line| line.starts_with("ok "));
    assert_eq!(taken.count(), 4, "{}", said.output);
    assert_eq!(house.mail().len(), 1);

    // A scan: told with what was done about it, as it stands by then.
    house.scan(FIRST);
    let mail = house.mail_about(FIRST, 1).remove(0);
    let (text, html) = (string(&mail["text"]), string(&mail["html"]));
    assert!(
        string(&mail["subject"]).starts_with("[Sentinel] medium: port scan by 45.33.32.10, is blocked"),
        "{mail}"
    );
    assert_eq!(
        (string(&mail["from"]), string(&mail["to"])),
        ("Sentinel <sentinel@example.org>", "soc@example.org")
    );
    assert_eq!(
        (string(&mail["auto"]), &mail["defects"]),
        ("auto-generated", &json!([]))
    );
    assert!(
        text.contains("45.33.32.10 is blocked until 20") && text.contains("ports/60s"),
        "{text}"
    );
    assert!(
        html.contains("is blocked until 20") && html.contains("/#/alerts/"),
        "{html}"
    );
    let block = house.agent.block(FIRST.into()).expect("answers");
    assert!(block.is_some(), "and so it is in the kernel");
    // Each channel in its own time.
    let alert = house.until_received("a webhook", |it| it["path"] == "/hook" && it["body"]["kind"] == "alert");
    assert_eq!(alert["body"]["actions"][0]["status"], "enforced", "{alert}");
    house.until_received("Slack", |it| {
        string(&it["path"]).starts_with("/slack") && string(&it["body"]["text"]).contains("45.33.32.10")
    });
    let received = house.received();
    let mut hooks = received.iter().filter(|it| it["path"] == "/hook");
    assert!(hooks.all(|it| it["signed"] == true), "{received:?}");
    let lines = || std::fs::read_to_string(house.agent.path("alerts.jsonl")).unwrap_or_default();
    wait::until("a line", SOON * 3, || {
        let told = lines().lines().any(|line| line.contains("\"45.33.32.10\""));
        Ok(told.then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {}", lines()));

    // Whoever people are told by is never blocked.
    let other = house.other.v4.to_string();
    let said = house.agent.cli(&["allowlist", "check", &other]).expect("runs");
    assert!(
        said.output.contains("mail server") || said.output.contains("webhook"),
        "{}",
        said.output
    );

    // The mail server goes; the agent is killed; both come back: told once.
    house.mailbox = None;
    house.scan(SECOND);
    let waits = wait::until("a message that waits", SOON * 3, || {
        let told = house.agent.get("/notifications")?;
        let email = told["channels"]
            .as_array()
            .and_then(|all| all.iter().find(|it| it["channel"] == "email").cloned());
        Ok(email.filter(|email| !email["trouble"].is_null() && email["waiting"] != 0))
    });
    let waits = waits.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(
        waits["trouble"]["cause"], "the mail server refuses connections",
        "{waits}"
    );
    let health = house.agent.get("/health").expect("health");
    assert_eq!(health["components"]["notify"]["state"], "degraded", "{health}");
    house.agent.kill().expect("killed");
    house.open_mailbox(&format!("{CANARY}-mail")).expect("back");
    house.agent.launch().expect("back");
    assert_eq!(house.mail_about(SECOND, 1).len(), 1);
    wait::until("nothing to wait", SOON, || {
        let told = house.agent.get("/notifications")?;
        Ok(told["channels"]
            .as_array()
            .is_some_and(|all| all.iter().all(|it| it["waiting"] == 0))
            .then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    let ids: BTreeSet<_> = house.mail().iter().map(|mail| mail["id"].to_string()).collect();
    assert_eq!(ids.len(), house.mail().len(), "each once");

    // Another password: named with its mend, and the command says no.
    house.open_mailbox("another").expect("back");
    let said = house.agent.cli(&["notifications", "test", "email"]).expect("runs");
    assert_eq!(said.code, 1, "{}", said.output);
    assert!(
        said.output.contains("refuses the log-in (535)") && said.output.contains("alerting.email.user"),
        "{}",
        said.output
    );
    house.mailbox = None;

    // No secret anywhere.
    for path in ["/settings", "/notifications", "/health", "/audit?limit=500"] {
        let answer = house.agent.request("GET", path, None).expect("answers");
        assert!(!answer.text.contains(CANARY), "{path}");
    }
    let log = house.agent.stop().expect("ends").output;
    assert!(!log.contains(CANARY), "{log}");
    let database = std::fs::read(house.agent.path("sentinel.db")).expect("the database");
    assert!(!database.windows(CANARY.len()).any(|at| at == CANARY.as_bytes()));
}

#[test]
fn what_is_wrong_with_who_is_told_is_named_with_its_mend() {
    let Some(binary) = agent_or_skip() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("settings.yml");
    let check = |alerting: &Value, password: &str| {
        std::fs::write(&file, json!({ "alerting": alerting }).to_string()).expect("settings");
        let mut command = Command::new(&binary);
        command.args(["check", "-c"]).arg(&file).env("SMTP_PASSWORD", password);
        let done = child::run(command, SOON).expect("runs");
        (done.code, done.output)
    };
    let mail = |more: Value| {
        let mut email = json!({ "host": "mail.example.org", "from": "a@example.org", "to": ["b@example.org"] });
        for (key, value) in more.as_object().expect("keys") {
            email[key] = value.clone();
        }
        json!({ "email": email })
    };
    for (alerting, password, words) in [
        (
            mail(json!({ "host": "mail.example.org:25" })),
            "",
            "is not the name or the address of a host",
        ),
        (mail(json!({ "from": "" })), "", "so mail would come from nobody"),
        (mail(json!({ "to": ["nobody"] })), "", "is not the address of a mailbox"),
        (mail(json!({ "user": "sentinel" })), "", "belong together"),
        (
            mail(json!({ "user": "a", "security": "none" })),
            CANARY,
            "for all to read",
        ),
        (
            mail(json!({ "ca_file": "/etc/hostname" })),
            "",
            "holds no certificate in PEM",
        ),
        (
            mail(json!({ "subject": "{severty}" })),
            "",
            "has the place `{severty}`, which is not known",
        ),
        (
            json!({ "webhook": { "url": "hooks.example.com" } }),
            "",
            "is not the URL of a webhook",
        ),
        (
            json!({ "webhook": { "url": "http://169.254.169.254/" } }),
            "",
            "where clouds keep secrets",
        ),
        (
            json!({ "webhook": { "url": "https://a.example/", "body": "{\"a\": \"{x}\"}" } }),
            "",
            "the place `{x}`",
        ),
        (
            json!({ "webhook": { "url": "https://a.example/", "body": "{" } }),
            "",
            "is no JSON",
        ),
        (
            json!({ "syslog": { "address": "udp://logs.example.org:514" } }),
            "",
            "nothing is routed to `syslog`",
        ),
        (
            json!({ "severity_routing": { "high": ["pigeon"] } }),
            "",
            "`pigeon` is not known",
        ),
        (json!({ "quiet_hours": { "hours": "late" } }), "", "are no hours"),
    ] {
        let (code, said) = check(&alerting, password);
        assert_eq!(code, 64, "{alerting}: {said}");
        assert!(said.contains(words), "{alerting}: {said}");
        assert!(!said.contains(CANARY), "{said}");
    }
    let (code, said) = check(&mail(json!({ "user": "sentinel" })), CANARY);
    assert_eq!(code, 0, "{said}");
}
