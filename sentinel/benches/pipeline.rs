//! Flow summaries per second from record to decision, and what memory they take.
//!
//! `cargo bench -p sentinel --bench pipeline -- [--json FILE] [--records N]`

use sentinel::config::{Config, Mode};
use sentinel::decide::{Guards, Judge};
use sentinel::detect::Detectors;
use sentinel::flow::FlowTable;
use sentinel::types::{Clock, Ktime, Mint};
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{CAUSE_CLOSE, CAUSE_FIRST, PROTO_TCP, STATE_CLOSED, STATE_HANDSHAKE};
use serde_json::json;
use std::time::{Duration, Instant};

/// What issue 2 asks for, summaries per second: a million a minute.
const FLOOR: f64 = 1_000_000.0 / 60.0;
/// Time between ticks, in records' time.
const TICK: Duration = Duration::from_millis(50);
/// Records per second of the records' own time.
const PACE: u64 = 50_000;

/// The rooms between record and decision.
struct House {
    table: FlowTable,
    detectors: Detectors,
    judge: Judge,
    guards: Guards,
    alerts: u64,
    decisions: u64,
}

impl House {
    fn new(config: &Config) -> Self {
        Self {
            table: FlowTable::new(&config.flow),
            detectors: Detectors::new(config, Clock::default(), Mint::Counted(0), "bench"),
            judge: Judge::new(&config.response, Mode::Production, Mint::Counted(0)),
            guards: Guards::new(Vec::new()),
            alerts: 0,
            decisions: 0,
        }
    }

    fn take(&mut self, observation: &sentinel::flow::Observation) {
        for alert in self.detectors.observe(observation) {
            self.alerts += 1;
            let now = alert.at;
            self.decisions += u64::from(self.judge.judge(&alert, &self.guards, now).is_some());
        }
    }

    fn record(&mut self, record: &FlowRecord) {
        if let Some(observation) = self.table.apply(record) {
            self.take(&observation);
        }
    }

    fn tick(&mut self, now: Ktime) {
        for observation in self.table.tick(now) {
            self.take(&observation);
        }
        self.detectors.tick(now);
        self.judge.expire(Clock::default().wall(now));
    }
}

/// A web client's connection: its first packet, then its close, from one of 2,000 clients.
fn benign(i: u64, now_ns: u64) -> FlowRecord {
    let flow = i / 2;
    let client = flow % 2000;
    let mut record = FlowRecord::default();
    record.key.remote = Addr::v4([203, 0, (client / 250) as u8, (client % 250) as u8]);
    record.key.local = Addr::v4([10, 0, 0, 1]);
    record.key.remote_port = 1024 + (flow / 2000 % 60_000) as u16;
    (record.key.local_port, record.key.proto, record.now_ns) = (443, PROTO_TCP, now_ns);
    let (ahead, back) = (&mut record.value.ingress, &mut record.value.egress);
    (ahead.packets, ahead.bytes, ahead.syn, ahead.len_max) = (1, 60, 1, 60);
    (ahead.first_ns, ahead.last_ns) = (now_ns, now_ns);
    record.cause = CAUSE_FIRST;
    if i % 2 == 1 {
        (ahead.packets, ahead.bytes, ahead.payload_bytes, ahead.ack, ahead.fin) = (9, 1500, 900, 8, 1);
        (back.packets, back.bytes, back.payload_bytes, back.synack, back.fin) = (14, 19_000, 18_000, 1, 1);
        ahead.first_ns = now_ns - 1_000_000_000 / PACE;
        (back.first_ns, back.last_ns) = (ahead.first_ns, now_ns);
        record.value.state = STATE_HANDSHAKE | STATE_CLOSED;
        record.cause = CAUSE_CLOSE;
    }
    record
}

/// A SYN from a source nobody saw before.
fn forged(i: u64, now_ns: u64) -> FlowRecord {
    let mut record = FlowRecord::default();
    record.key.remote = Addr::v4((0x0b00_0000 + i as u32).to_be_bytes());
    record.key.local = Addr::v4([10, 0, 0, 1]);
    (record.key.remote_port, record.key.local_port, record.key.proto) = (1024, 80, PROTO_TCP);
    let ahead = &mut record.value.ingress;
    (ahead.packets, ahead.bytes, ahead.syn, ahead.len_max) = (1, 40, 1, 40);
    (ahead.first_ns, ahead.last_ns) = (now_ns, now_ns);
    (record.now_ns, record.cause) = (now_ns, CAUSE_FIRST);
    record
}

/// Resident memory of this process, MiB.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / f64::from(1 << 20)
}

fn row(name: &str, value: f64, unit: &str, better: &str, floor: Option<f64>) -> serde_json::Value {
    let ratio = floor.map(|f| value / f);
    println!(
        "{name:<28} {value:>14.1} {unit:<12} {}",
        ratio.map_or(String::new(), |r| format!("{r:.2} x floor"))
    );
    json!({ "suite": "pipeline", "name": name, "value": value, "unit": unit, "better": better, "floor": floor, "ratio": ratio })
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        arguments
            .iter()
            .position(|a| a == name)
            .and_then(|i| arguments.get(i + 1))
    };
    let records: u64 = after("--records").map_or(Ok(3_000_000), |n| n.parse())?;
    let config = Config::default();
    let bound = (FlowTable::memory_bound(&config.flow) + Detectors::memory_bound(&config)) as f64 / f64::from(1 << 20);
    let mut rows = vec![row("memory_bound", bound, "MiB", "lower", None)];
    for (name, make) in [
        ("benign", benign as fn(u64, u64) -> FlowRecord),
        ("forged_flood", forged),
    ] {
        let before = resident();
        let mut house = House::new(&config);
        let mut next_tick = Ktime(0);
        let mut slowest = Duration::ZERO;
        let began = Instant::now();
        for i in 0..records {
            let now = 1_000_000_000_000 + i * (1_000_000_000 / PACE);
            if Ktime(now) >= next_tick {
                let tick = Instant::now();
                house.tick(Ktime(now));
                slowest = slowest.max(tick.elapsed());
                next_tick = Ktime(now).after(TICK);
            }
            house.record(&make(i, now));
        }
        let took = began.elapsed().as_secs_f64();
        let per_second = records as f64 / took;
        rows.push(row(
            &format!("{name}_records_per_s"),
            per_second,
            "records/s",
            "higher",
            Some(FLOOR),
        ));
        rows.push(row(
            &format!("{name}_slowest_tick"),
            slowest.as_secs_f64() * 1e3,
            "ms",
            "lower",
            None,
        ));
        rows.push(row(
            &format!("{name}_rss_growth"),
            resident() - before,
            "MiB",
            "lower",
            Some(bound),
        ));
        println!(
            "  {} flows, {} sources, {} alerts, {} decisions, {:?}",
            house.table.len(),
            house.table.sources(),
            house.alerts,
            house.decisions,
            house.table.losses()
        );
    }
    if let Some(file) = after("--json") {
        std::fs::write(file, serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}
