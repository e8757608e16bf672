//! Flow summaries per second from record to decision, and what memory they take.
//!
//! `cargo bench -p sentinel --bench pipeline -- [--json FILE] [--records N]`

use sentinel::config::{Config, Mode, SeverityThresholds};
use sentinel::decide::{Guards, Judge};
use sentinel::detect::Detectors;
use sentinel::features::{Builder, Limits};
use sentinel::flow::FlowTable;
use sentinel::investigate::{Recent, Weigher, risk};
use sentinel::types::{Clock, Ktime, Mint};
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{
    CAUSE_CLOSE, CAUSE_FIRST, CAUSE_PROOF, EGRESS, INGRESS, PROTO_TCP, STATE_HANDSHAKE, STATE_REPORTED,
};
use serde_json::json;
use std::time::{Duration, Instant};

/// The agent's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    recent: Recent,
    risk_thresholds: SeverityThresholds,
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
            recent: Recent::default(),
            risk_thresholds: config.risk_thresholds,
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
            let local = self.recent.take(&alert);
            let risk = risk(&local, &[], &Weigher::new(), &self.risk_thresholds, now);
            self.decisions += u64::from(self.judge.judge(&alert, &risk, &self.guards, now).is_some());
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

/// A web client's connection in five records, as the kernel makes them: the first packet each way, the handshake, the
/// FIN each way; from one of 2,000 clients.
fn benign(i: u64, now_ns: u64) -> FlowRecord {
    let (flow, step) = (i / 5, i % 5);
    let client = flow % 2000;
    let mut record = FlowRecord::default();
    record.key.remote = Addr::v4([203, 0, (client / 250) as u8, (client % 250) as u8]);
    record.key.local = Addr::v4([10, 0, 0, 1]);
    record.key.remote_port = 1024 + (flow / 2000 % 60_000) as u16;
    (record.key.local_port, record.key.proto, record.now_ns) = (443, PROTO_TCP, now_ns);
    let counts = &mut record.counts;
    (counts.packets, counts.bytes, counts.len_max) = (1, 60, 60);
    (counts.first_ns, counts.last_ns) = (now_ns, now_ns);
    record.cause = match step {
        0 | 1 => CAUSE_FIRST,
        2 => CAUSE_PROOF,
        _ => CAUSE_CLOSE,
    };
    record.direction = if step == 1 || step == 4 { EGRESS } else { INGRESS };
    record.state = if step < 2 { 0 } else { STATE_HANDSHAKE | STATE_REPORTED };
    match step {
        0 => counts.syn = 1,
        1 => (counts.synack, counts.ack) = (1, 1),
        2 => counts.ack = 1,
        3 => {
            (
                counts.packets,
                counts.bytes,
                counts.payload_bytes,
                counts.ack,
                counts.fin,
            ) = (7, 1380, 900, 7, 1);
        }
        _ => {
            (
                counts.packets,
                counts.bytes,
                counts.payload_bytes,
                counts.ack,
                counts.fin,
            ) = (13, 18_900, 18_000, 13, 1);
        }
    }
    record
}

/// A SYN from a source nobody saw before.
fn forged(i: u64, now_ns: u64) -> FlowRecord {
    let mut record = FlowRecord::default();
    record.key.remote = Addr::v4((0x0b00_0000 + i as u32).to_be_bytes());
    record.key.local = Addr::v4([10, 0, 0, 1]);
    (record.key.remote_port, record.key.local_port, record.key.proto) = (1024, 80, PROTO_TCP);
    let ahead = &mut record.counts;
    (ahead.packets, ahead.bytes, ahead.syn, ahead.len_max) = (1, 40, 1, 40);
    (ahead.first_ns, ahead.last_ns) = (now_ns, now_ns);
    (record.now_ns, record.cause) = (now_ns, CAUSE_FIRST);
    record
}

/// Feature records of so many flow records: the rows, and what it took.
fn features(config: &Config, name: &str, make: fn(u64, u64) -> FlowRecord, records: u64) -> Vec<serde_json::Value> {
    let before = resident();
    let mut table = FlowTable::new(&config.flow);
    let limits = Limits::from(&config.flow);
    let mut builder = Builder::new(&limits);
    let (mut out, mut told, mut took) = (Vec::new(), 0, Duration::ZERO);
    // In batches, so that the clock is not what is measured.
    for batch in 0..records / 500 {
        let seen: Vec<_> = (batch * 500..(batch + 1) * 500)
            .map(|i| make(i, 1_000_000_000_000 + i * (1_000_000_000 / PACE)))
            .filter_map(|record| Some((record, table.apply(&record)?)))
            .collect();
        if let Some((record, _)) = seen.last() {
            table.tick(Ktime(record.now_ns));
        }
        let began = Instant::now();
        for (record, seen) in &seen {
            builder.record(record, seen, &mut out);
        }
        took += began.elapsed();
        told += out.len();
        out.clear();
    }
    println!("  {told} feature records, {:?}", builder.losses());
    let bound = (FlowTable::memory_bound(&config.flow) + Builder::memory_bound(&limits)) as f64 / f64::from(1 << 20);
    let each = took.as_secs_f64() * 1e9 / records as f64;
    vec![
        row(&format!("{name}_features_per_record"), each, "ns", "lower", None),
        row(
            &format!("{name}_features_rss_growth"),
            resident() - before,
            "MiB",
            "lower",
            Some(bound),
        ),
    ]
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
    for (name, make) in [
        ("benign", benign as fn(u64, u64) -> FlowRecord),
        ("forged_flood", forged),
    ] {
        rows.extend(features(&config, name, make, records));
    }
    if let Some(file) = after("--json") {
        std::fs::write(file, serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}
