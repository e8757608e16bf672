//! A source that follows a script.

use crate::intel::{IntelError, IntelSource, Profile, QuotaHint, Reply, Ttl};
use crate::types::{Indicator, IntelVerdict, Severity, Timestamp};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Somebody in the Internet.
pub(crate) const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(45, 83, 64, 1));

pub(crate) type Says = Result<(), IntelError>;
type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;
type Answering = Box<dyn Fn(IpAddr) -> Result<Reply, IntelError> + Send + Sync>;

struct State {
    profile: Profile,
    takes: Mutex<Duration>,
    script: Mutex<VecDeque<Says>>,
    always: Mutex<Says>,
    clock: Mutex<Clock>,
    answering: Mutex<Option<Answering>>,
    begun: AtomicU64,
    finished: AtomicU64,
}

/// Shared by its copies.
#[derive(Clone)]
pub(crate) struct Scripted(Arc<State>);

impl Scripted {
    pub(crate) fn new(name: &'static str) -> Self {
        Self(Arc::new(State {
            profile: Profile {
                name,
                group: name,
                ttl: Ttl {
                    bad: Duration::from_hours(6),
                    benign: Duration::from_hours(24),
                    unknown: Duration::from_hours(12),
                },
                docs: "https://example.com/docs",
                spares: false,
            },
            takes: Mutex::default(),
            script: Mutex::default(),
            always: Mutex::new(Ok(())),
            clock: Mutex::new(Box::new(|| Timestamp(0))),
            answering: Mutex::default(),
            begun: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        }))
    }

    /// How long an answer takes from now on.
    pub(crate) fn takes(self, time: Duration) -> Self {
        *self.0.takes.lock().unwrap() = time;
        self
    }

    /// What it says first, one after the other.
    pub(crate) fn says(self, script: Vec<Says>) -> Self {
        self.then(script);
        self
    }

    /// The same later.
    pub(crate) fn then(&self, script: Vec<Says>) {
        *self.0.script.lock().unwrap() = script.into();
    }

    /// What it says when the script is through.
    pub(crate) fn always(&self, says: Says) {
        *self.0.always.lock().unwrap() = says;
    }

    /// Dates its answers.
    pub(crate) fn clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        *self.0.clock.lock().unwrap() = Box::new(clock);
        self
    }

    /// Decides by itself what it says, once the time is over.
    pub(crate) fn answering(self, by: impl Fn(IpAddr) -> Result<Reply, IntelError> + Send + Sync + 'static) -> Self {
        *self.0.answering.lock().unwrap() = Some(Box::new(by));
        self
    }

    pub(crate) fn boxed(&self) -> Box<dyn IntelSource> {
        Box::new(self.clone())
    }

    /// Requests that came.
    pub(crate) fn begun(&self) -> u64 {
        self.0.begun.load(SeqCst)
    }

    /// Requests that were answered.
    pub(crate) fn finished(&self) -> u64 {
        self.0.finished.load(SeqCst)
    }

    /// What it tells of an address it calls malicious.
    pub(crate) fn bad(name: &str, ip: IpAddr, at: Timestamp) -> Reply {
        let mut indicator = Indicator::new(name, ip, at);
        indicator.judge(IntelVerdict::Malicious, 0.9, 0.8);
        indicator.category("ssh brute force");
        Reply {
            indicator,
            cached: false,
            hint: QuotaHint::default(),
        }
    }
}

impl IntelSource for Scripted {
    fn profile(&self) -> &Profile {
        &self.0.profile
    }

    fn ask(&self, ip: IpAddr, _severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            self.0.begun.fetch_add(1, SeqCst);
            let takes = *self.0.takes.lock().unwrap();
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            self.0.finished.fetch_add(1, SeqCst);
            if let Some(by) = &*self.0.answering.lock().unwrap() {
                return by(ip);
            }
            let next = self.0.script.lock().unwrap().pop_front();
            let says = next.unwrap_or_else(|| self.0.always.lock().unwrap().clone());
            let at = (self.0.clock.lock().unwrap())();
            says.map(|()| Self::bad(self.0.profile.name, ip, at))
        })
    }
}
