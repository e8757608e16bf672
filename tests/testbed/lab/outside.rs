//! The benchmark `outside`: from evidence to the first drop while the world outside is slow.
//!
//! Five sources are played on the protected host's loopback, in the forms they document; each answers after half a second.
//! An attacker is *cold* where nobody asked about it before, and *warm* where every answer is in memory.

use super::attack::{Tool, now_ms, time_ms};
use super::figure::{figure, quantile};
use super::{Lab, PROTECTED};
use crate::child::{self, Child};
use crate::net::Host;
use crate::{interrupt, wait};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Where the sources are played.
const PORT: u16 = 8089;
const SOURCES: [&str; 5] = ["virustotal", "abuseipdb", "otx", "ipqualityscore", "greynoise"];
/// Until a source answers, s.
const SLOW: &str = "0.5";
const PLAY: &str = r#"
import http.server, json, re, sys, time
class Source(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        ip = re.search(r"45\.33\.\d+\.\d+", self.path).group()
        day, now = time.strftime("%Y-%m-%d"), int(time.time())
        time.sleep(float(sys.argv[2]))
        if self.path.startswith("/api/v3/"):
            body = {"data": {"id": ip, "type": "ip_address", "attributes": {"reputation": -14, "last_analysis_date": now,
                "last_analysis_stats": {"malicious": 12, "suspicious": 1, "harmless": 50, "undetected": 30, "timeout": 0}}}}
        elif self.path.startswith("/api/v2/"):
            body = {"data": {"ipAddress": ip, "isPublic": True, "ipVersion": 4, "isWhitelisted": False,
                "abuseConfidenceScore": 100, "totalReports": 431, "numDistinctUsers": 77,
                "lastReportedAt": day + "T00:00:00+00:00", "reports": []}}
        elif self.path.startswith("/api/v1/"):
            body = {"indicator": ip, "type": "IPv4", "reputation": 0, "validation": [], "pulse_info": {"count": 4, "pulses": []}}
        elif self.path.startswith("/api/json/"):
            body = {"success": True, "message": "Success", "fraud_score": 100, "proxy": True, "vpn": True, "tor": False,
                "recent_abuse": True, "bot_status": True}
        else:
            body = {"ip": ip, "noise": True, "riot": False, "classification": "malicious", "name": "unknown", "last_seen": day,
                "message": "Success"}
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *a): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
Server(("127.0.0.1", int(sys.argv[1])), Source).serve_forever()
"#;

/// What takes turns; each attacker is another address of the same host. All of them go on while they are judged.
const ATTACKS: [&str; 4] = [
    "hping3 -q -S -a {source} -p ++1 -i u2500 -c 8000 {target}",
    "hping3 -q --udp -a {source} -p 9999 --keep -s 4000 -i u500 -c 40000 {target}",
    "hping3 -q --icmp -a {source} -i u1000 -c 20000 {target}",
    "nmap -n -Pn -sS -e eth0 -S {source} -p1-20000 --max-rate 400 {target}",
];
/// The longest there is (`CONFIG_HZ=100`), ms.
const JIFFY: f64 = 10.0;
/// Attacks going on at the same time.
const AT_ONCE: u8 = 2;
/// What issue 6 asks for, ms.
const WARM: f64 = 1000.0;
const COLD: f64 = 3000.0;
const PATIENCE: Duration = Duration::from_mins(1);

/// Attacks `rounds` times with answers in memory and as often without, and writes what each took.
///
/// # Errors
/// When an attack went unblocked, was not what it is told as (cold or warm), or the lab broke.
pub fn outside(agent: &Path, json: &Path, rounds: u8) -> Result<()> {
    interrupt::listen()?;
    let mut figures = Vec::new();
    for (name, goal, warm) in [("warm", WARM, true), ("cold", COLD, false)] {
        let scene = Outside::new(agent)?;
        let began = std::time::Instant::now();
        let took = scene.all(rounds, warm).context(name)?;
        println!(
            "{name}: {rounds} attacks in {:.0} s; agent's own histogram: {}",
            began.elapsed().as_secs_f64(),
            scene.histogram()?
        );
        for (what, mut values, goal) in [("first_drop", took.drop, Some(goal)), ("settled", took.settled, None)] {
            values.sort_by(f64::total_cmp);
            for (share, q) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                let goal = goal.filter(|_| share == "p99");
                let row = format!("{name}_evidence_to_{what}_{share}");
                figures.push(figure("outside", &row, quantile(&values, q), "ms", "lower", goal));
            }
        }
    }
    for row in &figures {
        let value = row["value"].as_f64().unwrap_or_default();
        println!("{:<32} {value:>8.1} ms", row["name"].as_str().unwrap_or_default());
    }
    std::fs::write(json, serde_json::to_vec_pretty(&figures)?)?;
    Ok(())
}

/// What attacks took, ms.
#[derive(Default)]
struct Took {
    /// From the packet that completed the evidence to the first packet dropped.
    drop: Vec<f64>,
    /// From there until everybody outside had answered, and the decision was what follows from that.
    settled: Vec<f64>,
}

struct Outside {
    lab: Lab,
    attacker: Host,
    _sources: Child,
}

impl Outside {
    fn new(agent: &Path) -> Result<Self> {
        let mut sources = serde_json::Map::new();
        let key = tempfile::NamedTempFile::new()?;
        std::fs::write(key.path(), "key0123456789")?;
        for name in SOURCES {
            let url = format!("http://127.0.0.1:{PORT}");
            // Free plans would not last a hundred attacks: their limits are not what is measured.
            let settings = json!({ "url": url, "key_file": key.path(), "per_minute": 0, "per_day": 0, "per_month": 0 });
            sources.insert(name.to_owned(), settings);
        }
        let mut lab = Lab::new(agent, &json!({ "intel": { "sources": sources } }))?;
        let port = PORT.to_string();
        let played = Child::spawn(lab.protected.program("python3", &["-c", PLAY, &port, SLOW]))?;
        wait::until("the sources", PATIENCE, || {
            let up = lab
                .protected
                .run(&format!("curl -s -m 3 http://127.0.0.1:{PORT}/45.33.0.0"), PATIENCE)?;
            Ok((up.code == 0).then_some(()))
        })?;
        let attacker = lab.attacker()?;
        child::must(lab.protected.command("ip route add 45.33.0.0/16 dev eth0"), PATIENCE)?;
        Ok(Self {
            lab,
            attacker,
            _sources: played,
        })
    }

    /// Every attack, some of them at the same time.
    fn all(&self, rounds: u8, warm: bool) -> Result<Took> {
        let lane = |first: u8| {
            let mut took = Took::default();
            for round in (first..rounds).step_by(AT_ONCE.into()) {
                ensure!(!interrupt::wanted(), "interrupted");
                self.round(round, warm, &mut took)
                    .with_context(|| format!("attack {round}"))?;
            }
            Ok(took)
        };
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..AT_ONCE).map(|first| scope.spawn(move || lane(first))).collect();
            let mut all = Took::default();
            for lane in lanes {
                let took = lane
                    .join()
                    .map_err(|_| anyhow::anyhow!("an attack's thread panicked"))??;
                all.drop.extend(took.drop);
                all.settled.extend(took.settled);
            }
            Ok(all)
        })
    }

    fn round(&self, round: u8, warm: bool, took: &mut Took) -> Result<()> {
        let agent = &self.lab.agent;
        // Each in a prefix of its own, so that none is blocked for its neighbours.
        let source = format!("45.33.{round}.7");
        child::must(
            self.attacker.command(&format!("ip addr add {source}/32 dev eth0")),
            PATIENCE,
        )?;
        let target = format!("192.0.2.{PROTECTED}");
        // Whoever is to be blocked has shown that it receives at its address.
        let knock = format!("curl -s -o /dev/null -m 5 --interface {source} http://{target}/file");
        child::must(self.attacker.command(&knock), PATIENCE)?;
        if warm {
            let told = agent.request("POST", "/intel/check", Some(&json!({ "ip": source })))?;
            ensure!(told.status == 200, "{}", told.text);
        }
        let line = ATTACKS[usize::from(round) % ATTACKS.len()]
            .replace("{source}", &source)
            .replace("{target}", &target);
        let mut tool = Tool::start(&self.attacker, &line)?;
        let path = format!("/decisions?limit=20&ip={source}");
        // The first decision that acts is the one that is measured, whatever becomes of it afterwards.
        let hit = wait::until("the kernel to drop its packets", PATIENCE, || {
            tool.keep_going()?;
            let mut page = agent.get(&path)?;
            let items = page["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            let blocks = items
                .into_iter()
                .rev()
                .filter(|decision| decision["action"] == "block_ip");
            let mut hit = blocks.filter(|decision| decision["hits"].as_u64() > Some(0));
            Ok(hit.next())
        })?;
        drop(tool);
        let alert = agent.get(&format!("/alerts/{}", hit["alert"].as_str().context("no alert")?))?;
        let evidence = time_ms(&alert["at"]).context("the alert has no time")?;
        let dropped = time_ms(&hit["first_hit"]).context("no first drop")?;
        // Packets are stamped by a clock that moves once a jiffy.
        ensure!(evidence <= dropped + JIFFY && dropped <= now_ms(), "{alert} {hit}");
        took.drop.push((dropped - evidence).max(0.0));
        let found = wait::until("everybody outside to have answered", PATIENCE, || {
            let page = agent.get(&format!("/investigations?limit=20&ip={source}"))?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            Ok(items
                .into_iter()
                .find(|found| found["alert"] == alert["id"] && found["state"] == "complete"))
        })?;
        let answers = found["answers"].as_array().context("no answers")?;
        let wanted = if warm { "cache" } else { "fresh" };
        let as_told = |answer: &&Value| answer["result"] == wanted && (warm || answer["took_ms"].as_u64() >= Some(500));
        let right = answers.iter().filter(as_told).count();
        ensure!(
            right == SOURCES.len(),
            "not every source was {wanted}: {}",
            found["answers"]
        );
        let settled = time_ms(&found["updated_at"]).context("no time")?;
        took.settled.push(settled - evidence);
        Ok(())
    }

    /// What the agent says of itself.
    fn histogram(&self) -> Result<String> {
        let metrics = self.lab.agent.metrics()?;
        let family = "sentinel_detect_to_drop_seconds";
        let count = metrics.sum(&format!("{family}_count"), &[]);
        let mean = metrics.sum(&format!("{family}_sum"), &[]) / count.max(1.0);
        Ok(format!("{count:.0} first drops, mean {:.1} ms", 1e3 * mean))
    }
}
