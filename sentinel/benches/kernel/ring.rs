//! The ring: records a second through the real reader, from a program that does nothing else and from the real ones; what is
//! lost, and what the reader costs.

use crate::Plan;
use crate::figures::Book;
use crate::frames::{Kind, frame, listed_v4};
use crate::path::{config, draw, product};
use crate::run;
use crate::yard::Yard;
use anyhow::{Context, Result};
use sentinel::config::KernelConfig;
use sentinel::kernel::{RingReader, decode};
use sentinel_common::names::PROG_XDP;
use sentinel_common::stat::{COUNTERS, Counter};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Packets between two looks at the clock.
const STRETCH: u32 = 500_000;
/// Records a second that are to arrive whole, with a margin over the goal.
const PACE: u32 = 6_000_000;
/// Batches between reader and consumer, as the agent has it.
const BATCHES: usize = 128;

pub(crate) fn run(plan: &Plan, book: &mut Book) -> Result<()> {
    let last = aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))? - 1;
    if last == 0 {
        book.note("the ring takes two CPUs: left out");
        return Ok(());
    }
    alone(plan, book, last)?;
    whole(plan, book, last)
}

/// A program that only tells, on one CPU, and the agent's reader on another, which it shares with who counts: as fast as that
/// goes, and then at a pace a reader has to keep up with.
fn alone(plan: &Plan, book: &mut Book, last: usize) -> Result<()> {
    book.heading(&format!("records through the ring alone, {} s each", plan.ring_secs));
    told(plan, book, last, None)?;
    let (rate, lost, reader) = told(plan, book, last, Some(PACE))?;
    book.at_least(8, "records a second through the ring", rate / 1e6, "M/s", 5.0);
    book.at_most(8, "records lost meanwhile", lost as f64, "records", 0.0);
    book.at_most(8, "processor time of the reader, a record", reader, "ns", 50.0);
    Ok(())
}

/// Records a second, how many were lost, and what one takes of the reader, ns.
fn told(plan: &Plan, book: &mut Book, last: usize, pace: Option<u32>) -> Result<(f64, u64, f64)> {
    let mut yard = Yard::load(1, 0)?;
    let ring = yard.ring()?;
    let reading = Reading::begin(RingReader::over(ring, config(1, 0).poll_interval), last);
    yard.draw(draw(1 << 20, 0x3f00_0000))?;
    yard.next(yard.program("yard_tell")?)?;
    let packet = frame(listed_v4(0), Kind::Udp);
    let began = Instant::now();
    let mut due = Duration::ZERO;
    let (took, packets) = stretches(plan, || {
        run::time(yard.shuffle()?, &packet, STRETCH)?;
        if let Some(pace) = pace {
            due += Duration::from_secs(1) * STRETCH / pace;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        Ok(())
    })?;
    let read = reading.end()?;
    let [sent, full] = yard.told()?;
    let name = pace.map_or("the ring alone, unpaced", |_| "the ring alone, paced");
    book.note(&format!(
        "{name}: {packets} packets, {sent} records sent, {} read, {} dropped behind the ring, {full} while it was full",
        read.records, read.lost
    ));
    let (rate, reader) = (sent as f64 / took, read.spent / sent as f64);
    book.rate(&format!("records a second, {name}"), rate, "records/s", 5e6);
    book.cost(
        &format!("processor time of the reader, a record, {name}"),
        reader,
        "ns",
        None,
    );
    Ok((rate, full + read.lost, reader))
}

/// The real programs, to which every packet is a new flow.
fn whole(plan: &Plan, book: &mut Book, last: usize) -> Result<()> {
    book.heading(&format!(
        "records of new flows through the ring, {} s, one a packet",
        plan.ring_secs
    ));
    let all = KernelConfig {
        event_budget: u32::MAX,
        ..config(1, 0)
    };
    let mut kernel = product(&all, 1, 0)?;
    let ours = kernel.test_program(PROG_XDP)?;
    let mut yard = Yard::load(1, 0)?;
    let reading = Reading::begin(kernel.ring(), last);
    yard.draw(draw(1 << 20, 0x3f00_0000))?;
    yard.next(ours.as_fd())?;
    let packet = frame(listed_v4(0), Kind::Udp);
    let before = kernel.test_counters()?;
    let (took, packets) = stretches(plan, || run::time(yard.shuffle()?, &packet, STRETCH).map(drop))?;
    let after = kernel.test_counters()?;
    let read = reading.end()?;
    let moved = |counter: Counter| moved(&before, &after, counter);
    let sent = moved(Counter::EventSent);
    let withheld = [Counter::EventLost, Counter::EventDeferred, Counter::EventThinned].map(moved);
    book.note(&format!(
        "{packets} packets, {sent} records sent, {} read, {} dropped behind the ring; withheld: {} ring full, {} budget, {} \
         thinned",
        read.records, read.lost, withheld[0], withheld[1], withheld[2]
    ));
    book.rate("records of new flows a second", sent as f64 / took, "records/s", 5e6);
    book.cost(
        "processor time of the reader, a record",
        read.spent / sent as f64,
        "ns",
        None,
    );
    let lost: u64 = withheld.iter().sum::<u64>() + read.lost;
    book.at_most(8, "records of new flows lost or withheld", lost as f64, "records", 0.0);
    Ok(())
}

/// Packets for as long as the plan has it: how long that was, s, and how many.
fn stretches(plan: &Plan, mut stretch: impl FnMut() -> Result<()>) -> Result<(f64, u64)> {
    let began = Instant::now();
    let mut packets = 0;
    while began.elapsed() < Duration::from_secs(plan.ring_secs) {
        stretch()?;
        packets += u64::from(STRETCH);
    }
    Ok((began.elapsed().as_secs_f64(), packets))
}

/// The reader at work, and who counts what it hands on.
struct Reading {
    cancel: CancellationToken,
    lost: Arc<AtomicU64>,
    reader: JoinHandle<Result<f64>>,
    counter: JoinHandle<u64>,
}

/// What came of it.
struct Read {
    /// Records that arrived.
    records: u64,
    /// Records the reader dropped.
    lost: u64,
    /// Processor time of the reader, ns.
    spent: f64,
}

impl Reading {
    fn begin(reader: RingReader, cpu: usize) -> Self {
        let (lost, cancel) = (reader.lost(), CancellationToken::new());
        let (out, mut batches) = tokio::sync::mpsc::channel(BATCHES);
        let stop = cancel.clone();
        let reader = std::thread::spawn(move || read(reader, out, stop, cpu));
        // Counting is not the reader's work: it has a thread of its own, on the same CPU, so that the sender has the other.
        let counter = std::thread::spawn(move || {
            let _ = run::pin(cpu);
            let mut got = 0;
            while let Some(batch) = batches.blocking_recv() {
                got += decode(&batch).flatten().count() as u64;
            }
            got
        });
        Self {
            cancel,
            lost,
            reader,
            counter,
        }
    }

    fn end(self) -> Result<Read> {
        self.cancel.cancel();
        let spent = self
            .reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        let records = self
            .counter
            .join()
            .map_err(|_| anyhow::anyhow!("the counter panicked"))?;
        Ok(Read {
            records,
            lost: self.lost.load(Ordering::Relaxed),
            spent,
        })
    }
}

const fn moved(before: &[u64; COUNTERS], after: &[u64; COUNTERS], counter: Counter) -> u64 {
    after[counter as usize] - before[counter as usize]
}

/// Runs the reader on a CPU of its own; the processor time it took, ns.
fn read(
    reader: RingReader,
    out: tokio::sync::mpsc::Sender<bytes::Bytes>,
    stop: CancellationToken,
    cpu: usize,
) -> Result<f64> {
    run::pin(cpu)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime")?;
    let began = run::thread_time()?;
    runtime.block_on(reader.run(out, stop));
    Ok(run::thread_time()? - began)
}
