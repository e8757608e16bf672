//! A gate that can be broken, and a responder between it and a real store.

use crate::bus::Bus;
use crate::metrics::Metrics;
use crate::replay::ModelGate;
use crate::respond::{Deps, EnforceError, Enforcer, Order, Responder};
use crate::store::{ActionFilter, Store, Writer};
use crate::types::*;
use ipnet::IpNet;
use sentinel_common::entry::{ACTION_REDIRECT, AllowEntry, BlockEntry};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::broadcast;

pub(crate) struct Inside {
    pub(crate) gate: ModelGate,
    /// Names of calls that fail: `put`, `get`, `delete`, `list`, `allow`, `disallow`, `allows`.
    pub(crate) broken: BTreeSet<&'static str>,
    /// The call that fails, counted down.
    pub(crate) fail_at: Option<u64>,
    /// Writes are taken and forgotten, or changed on the way.
    pub(crate) lie: Option<fn(&mut BlockEntry) -> bool>,
    pub(crate) calls: Vec<String>,
    /// What it says it cannot do.
    /// What is done instead of redirecting.
    pub(crate) shortfall: Option<&'static str>,
    /// What is done instead of anything.
    pub(crate) bare: Option<&'static str>,
}

#[derive(Clone)]
pub(crate) struct Rig(Arc<Mutex<Inside>>);

impl Default for Rig {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inside {
            gate: ModelGate::new(100_000, 1000, true),
            broken: BTreeSet::new(),
            fail_at: None,
            lie: None,
            calls: Vec::new(),
            shortfall: None,
            bare: None,
        })))
    }
}

impl Rig {
    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    pub(crate) fn breaks(&self, calls: &[&'static str]) {
        self.inside().broken = calls.iter().copied().collect();
    }

    pub(crate) fn entry(&self, target: &str) -> Option<BlockEntry> {
        self.inside().gate.get_block(net(target)).unwrap()
    }

    pub(crate) fn blocks(&self) -> Vec<IpNet> {
        self.inside()
            .gate
            .list_blocks()
            .unwrap()
            .into_iter()
            .map(|b| b.0)
            .collect()
    }

    pub(crate) fn allows(&self) -> Vec<IpNet> {
        self.inside()
            .gate
            .list_allows()
            .unwrap()
            .into_iter()
            .map(|a| a.0)
            .collect()
    }

    fn call(&self, name: &'static str, target: &str) -> Result<MutexGuard<'_, Inside>, EnforceError> {
        let mut inside = self.inside();
        inside.calls.push(format!("{name} {target}"));
        let nth = inside.fail_at == Some(0);
        inside.fail_at = inside.fail_at.and_then(|n| n.checked_sub(1));
        if nth || inside.broken.contains(name) {
            return Err(EnforceError::Kernel {
                map: "test",
                cause: format!("{name} was told to fail"),
            });
        }
        Ok(inside)
    }
}

impl Enforcer for Rig {
    fn put_block(&mut self, target: IpNet, entry: &BlockEntry) -> Result<(), EnforceError> {
        let mut inside = self.call("put", &target.to_string())?;
        let mut entry = *entry;
        if inside.lie.is_some_and(|lie| !lie(&mut entry)) {
            return Ok(());
        }
        inside.gate.put_block(target, &entry)
    }

    fn get_block(&self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        self.call("get", &target.to_string())?.gate.get_block(target)
    }

    fn delete_block(&mut self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        self.call("delete", &target.to_string())?.gate.delete_block(target)
    }

    fn list_blocks(&self) -> Result<Vec<(IpNet, BlockEntry)>, EnforceError> {
        self.call("list", "")?.gate.list_blocks()
    }

    fn put_allow(&mut self, target: IpNet, entry: &AllowEntry) -> Result<(), EnforceError> {
        self.call("allow", &target.to_string())?.gate.put_allow(target, entry)
    }

    fn delete_allow(&mut self, target: IpNet) -> Result<bool, EnforceError> {
        self.call("disallow", &target.to_string())?.gate.delete_allow(target)
    }

    fn list_allows(&self) -> Result<Vec<(IpNet, AllowEntry)>, EnforceError> {
        self.call("allows", "")?.gate.list_allows()
    }

    fn set_acting(&mut self, on: bool) -> Result<(), EnforceError> {
        self.call("switch", &on.to_string())?.gate.set_acting(on)
    }

    fn acting(&self) -> Result<bool, EnforceError> {
        self.call("acting", "")?.gate.acting()
    }

    fn room(&self, target: IpNet) -> Option<(&'static str, u64)> {
        self.inside().gate.room(target)
    }

    fn shortfall(&self, _: IpNet, entry: &BlockEntry) -> Option<String> {
        let inside = self.inside();
        let redirects = entry.action == ACTION_REDIRECT;
        let shortfall = inside.bare.or(inside.shortfall.filter(|_| redirects));
        shortfall.map(str::to_owned)
    }

    fn name(&self) -> String {
        "model".to_owned()
    }
}

/// A responder at work.
pub(crate) struct Bench {
    pub(crate) rig: Rig,
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) responder: Responder<Rig>,
    pub(crate) live: broadcast::Receiver<Live>,
    pub(crate) writer: Option<Writer>,
    thread: Option<std::thread::JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Bench {
    /// With a disk that answers.
    pub(crate) fn new() -> Self {
        let mut bench = Self::hung();
        bench.unhang();
        bench
    }

    /// With a disk that does not answer until [`Bench::unhang`].
    pub(crate) fn hung() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&directory.path().join("s.db")).unwrap();
        let (rig, bus, metrics) = (Rig::default(), Bus::default(), Arc::new(Metrics::new()));
        let live = bus.subscribe();
        let deps = Deps {
            store: store.clone(),
            bus,
            metrics: Arc::clone(&metrics),
            commit_deadline: Duration::from_millis(500),
        };
        Self {
            responder: Responder::new(rig.clone(), deps, Clock::default()),
            rig,
            store,
            metrics,
            live,
            writer: Some(writer),
            thread: None,
            _directory: directory,
        }
    }

    pub(crate) fn unhang(&mut self) {
        let writer = self.writer.take().unwrap();
        self.thread = Some(std::thread::spawn(move || writer.run()));
    }

    pub(crate) async fn apply(&mut self, decision: &Decision) -> Vec<DecisionId> {
        self.responder.carry_out(vec![order(decision)], at(1)).await
    }

    pub(crate) async fn actions(&self) -> Vec<Action> {
        self.store.actions(ActionFilter::default()).await.unwrap().items
    }

    pub(crate) async fn stored(&self, decision: &Decision) -> Decision {
        self.store.decision(decision.id).await.unwrap().expect("stored")
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.live.try_recv().ok())
            .map(|live| live.event)
            .collect()
    }

    pub(crate) fn trouble(&self) -> String {
        match self.responder.condition() {
            Condition::Ok { .. } => String::new(),
            Condition::Degraded { cause, .. } => cause,
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.store.close();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn protected(nets: &[&str]) -> Vec<Protected> {
    nets.iter()
        .map(|text| Protected {
            target: net(text),
            guard: "allowlist".into(),
            reason: "of the test".into(),
        })
        .collect()
}

pub(crate) fn block(target: &str) -> Decision {
    Decision {
        id: Mint::Random.decision(at(1)),
        at: at(1),
        target: net(target),
        action: ActionKind::BlockIp,
        terms: Terms::default(),
        expires_at: Some(at(1000)),
        until_if_confirmed: None,
        simulated: false,
        origin: Origin::Detector,
        actor: "port_scan".into(),
        reason: "because".into(),
        alert: None,
        severity: Some(Severity::High),
        risk: None,
        basis: None,
        checks: Vec::new(),
        collateral: None,
        investigation: None,
        status: DecisionStatus::Active,
        veto: None,
        ended_at: None,
    }
}

pub(crate) fn alert(source: &str) -> Alert {
    Alert {
        id: Mint::Random.alert(at(1)),
        at: at(1),
        evidence_at: Ktime(1_000_000_000),
        source: source.parse().ok(),
        targets: Vec::new(),
        detector: Detector::PortScan,
        family: Family::Scan,
        technique: "syn vertical".into(),
        score: 0.95,
        severity: Severity::High,
        class: EvidenceClass::Behaviour,
        evidence: Vec::new(),
        summary: "it scanned".into(),
        sensor: "test".into(),
        standing: Some(Standing {
            proven: true,
            ..Standing::default()
        }),
        former: None,
        explanation: None,
    }
}

pub(crate) fn order(decision: &Decision) -> Order {
    Order::Apply {
        decision: decision.clone(),
        alert: None,
        evidence_at: Some(Ktime(1_000_000_000)),
        reply: None,
    }
}
