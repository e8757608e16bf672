//! Where an agent is killed: spread over the calls by which it changes something outside its own memory, and those around
//! what it writes into mapped memory without a call.

use std::collections::BTreeMap;
use testbed::strike::Strike;

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// While it starts.
    Start,
    /// While it is asked for things.
    Work,
    /// While it ends in order.
    Close,
    /// At a moment of the clock, `nth` milliseconds after the first wish.
    Moment,
    /// At a moment, with a disk that is full from a call on.
    Full,
    /// At a moment, with a disk on which every fsync takes longer than is waited for it.
    Slow,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) phase: Phase,
    pub(super) call: &'static str,
    pub(super) nth: u32,
    row: usize,
}

impl Point {
    pub(super) fn strike(&self) -> Strike {
        let (what, nth, on) = match self.phase {
            Phase::Full => ("error=ENOSPC", 1 + self.nth % 40, true),
            Phase::Slow => ("delay_enter=120ms", 1, true),
            _ => ("signal=SIGKILL", self.nth, false),
        };
        Strike {
            call: self.call,
            what,
            nth,
            on,
        }
    }
}

/// Phase, call, and how many of them one thread makes, about; what comes up more often stands here more often.
const ROWS: &[(Phase, &str, u32)] = &[
    (Phase::Work, "pwrite64", 240),
    (Phase::Work, "bpf", 30),
    (Phase::Start, "bpf", 600),
    (Phase::Work, "fsync", 30),
    (Phase::Moment, "", 600),
    (Phase::Work, "write", 60),
    (Phase::Start, "pwrite64", 100),
    (Phase::Work, "sendto", 6),
    (Phase::Full, "pwrite64", 500),
    (Phase::Work, "futex", 60),
    (Phase::Start, "fsync", 6),
    (Phase::Work, "pwrite64", 60),
    (Phase::Close, "close", 40),
    (Phase::Slow, "fsync", 900),
    (Phase::Work, "epoll_wait", 200),
    (Phase::Start, "mmap", 60),
    (Phase::Work, "fcntl", 60),
    (Phase::Close, "pwrite64", 60),
    (Phase::Start, "close", 150),
    (Phase::Work, "recvfrom", 10),
    (Phase::Close, "fsync", 6),
    (Phase::Start, "fcntl", 200),
    (Phase::Start, "ftruncate", 2),
    (Phase::Close, "unlink", 3),
];
/// Those of an agent that pins.
const PINNED: &[(Phase, &str, u32)] = &[
    (Phase::Start, "rename", 40),
    (Phase::Start, "bpf", 600),
    (Phase::Start, "unlink", 40),
    (Phase::Start, "mkdir", 3),
];

/// All of them, one after the other.
#[derive(Debug)]
pub(super) struct Points {
    rows: Vec<(Phase, &'static str, u32)>,
    turn: usize,
    seed: u32,
    told: BTreeMap<(Phase, &'static str), (u32, u32)>,
}

impl Points {
    pub(super) fn new(seed: u32, pinned: bool) -> Self {
        let mut rows = ROWS.to_vec();
        if pinned {
            for (place, row) in PINNED.iter().enumerate() {
                rows.insert(3 + 5 * place, *row);
            }
        }
        Self {
            rows,
            turn: 0,
            seed,
            told: BTreeMap::new(),
        }
    }

    /// The next one: the golden ratio's multiples lie evenly, however many are asked for.
    pub(super) fn next(&mut self) -> Point {
        let row = self.turn % self.rows.len();
        let (phase, call, most) = self.rows[row];
        let step = f64::from(self.seed) * 0.414_213_562 + self.turn as f64 * 0.618_033_988;
        self.turn += 1;
        let nth = 1 + (step.fract() * f64::from(most)) as u32;
        Point { phase, call, nth, row }
    }

    /// Where a kill did not come there are fewer calls than was thought.
    pub(super) fn learn(&mut self, point: &Point, struck: bool) {
        let told = self.told.entry((point.phase, point.call)).or_default();
        if struck {
            told.0 += 1;
        } else {
            told.1 += 1;
            let most = &mut self.rows[point.row].2;
            *most = (point.nth * 2 / 3).clamp(1, *most);
        }
    }

    /// How many came and how many did not, by phase and call.
    pub(super) fn told(&self) -> String {
        let each = self
            .told
            .iter()
            .map(|((phase, call), (came, missed))| format!("{phase:?} {call} {came}/{}", came + missed));
        each.collect::<Vec<_>>().join(", ")
    }
}
