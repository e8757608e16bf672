//! The ring: records a second through the real programs and the real reader, what is lost, and what the reader costs.

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
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Packets between two looks at the clock.
const STRETCH: u32 = 500_000;
/// Batches between reader and consumer, as the agent has it.
const BATCHES: usize = 128;

pub(crate) fn run(plan: &Plan, book: &mut Book) -> Result<()> {
    let last = aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))? - 1;
    if last == 0 {
        book.note("the ring takes two CPUs: left out");
        return Ok(());
    }
    book.heading(&format!(
        "records through the ring, {} s, every packet a new flow",
        plan.ring_secs
    ));
    let all = KernelConfig {
        event_budget: u32::MAX,
        ..config(1, 0)
    };
    let mut kernel = product(&all, 1, 0)?;
    let ours = kernel.test_program(PROG_XDP)?;
    let mut yard = Yard::load(1, 0)?;
    let reader = kernel.ring();
    let channel_lost = reader.lost();
    let cancel = CancellationToken::new();
    let (out, mut batches) = tokio::sync::mpsc::channel(BATCHES);
    let stop = cancel.clone();
    let reading = std::thread::spawn(move || read(reader, out, stop, last));
    // Counting is not the reader's work: it has a thread of its own, on the same CPU, so that the sender has the other.
    let counting = std::thread::spawn(move || {
        let _ = run::pin(last);
        let mut got = 0u64;
        while let Some(batch) = batches.blocking_recv() {
            got += decode(&batch).count() as u64;
        }
        got
    });
    yard.draw(draw(1 << 20, 0x3f00_0000))?;
    yard.next(ours.as_fd())?;
    let packet = frame(listed_v4(0), Kind::Udp);
    let before = kernel.test_counters()?;
    let began = Instant::now();
    let mut packets = 0;
    while began.elapsed() < Duration::from_secs(plan.ring_secs) {
        run::time(yard.shuffle()?, &packet, STRETCH)?;
        packets += u64::from(STRETCH);
    }
    let took = began.elapsed().as_secs_f64();
    let after = kernel.test_counters()?;
    cancel.cancel();
    let spent = reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let got = counting.join().map_err(|_| anyhow::anyhow!("the counter panicked"))?;
    let moved = |counter: Counter| moved(&before, &after, counter);
    let sent = moved(Counter::EventSent);
    let withheld = [Counter::EventLost, Counter::EventDeferred, Counter::EventThinned].map(moved);
    let behind = channel_lost.load(Ordering::Relaxed);
    book.note(&format!(
        "{packets} packets, {sent} records sent, {got} read, {behind} dropped behind the ring; withheld: {} ring full, {} \
         budget, {} thinned",
        withheld[0], withheld[1], withheld[2]
    ));
    book.rate("records a second", sent as f64 / took, "records/s", 5e6);
    book.cost(
        "processor time of the reader, a record",
        spent / sent as f64,
        "ns",
        None,
    );
    book.at_least(
        8,
        "records a second through the ring",
        sent as f64 / took / 1e6,
        "M/s",
        5.0,
    );
    let lost: u64 = withheld.iter().sum::<u64>() + behind;
    book.at_most(8, "records lost or withheld meanwhile", lost as f64, "records", 0.0);
    book.at_most(
        8,
        "processor time of the reader, a record",
        spent / sent as f64,
        "ns",
        50.0,
    );
    Ok(())
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
