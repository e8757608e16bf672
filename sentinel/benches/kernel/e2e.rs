//! What a packet costs a host, over a veth pair: processor time per packet, beside empty programs, nftables, ipset with
//! iptables, and xdp-filter.
//!
//! Frames come from a generator in the kernel (`yard_send`, live frames of `BPF_PROG_TEST_RUN`). Two ways to receive:
//! - hot: on the sender's CPU, in the soft interrupt that each batch of the generator raises; the time is that of the
//!   generating thread, which is all of both sides. What a card with direct cache access does to a driver comes near it.
//!   The goals are judged by this one.
//! - cold: in a kernel thread of its own on another CPU (threaded NAPI); the time is that thread's, and so none of the
//!   sender's. Every packet's first touch is then a line out of another core's cache.

use crate::Plan;
use crate::figures::{Book, median};
use crate::filter::Filter;
use crate::frames::{Kind, NEAR, frame, listed_v4};
use crate::net::{self, Pair, sh};
use crate::path::{config, draw, product};
use crate::run;
use crate::yard::{Draw, Yard};
use anyhow::{Context, Result, ensure};
use sentinel::kernel::Kernel;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Listed sources, all of which send.
const LIST: u32 = 10_000;
/// Flows that are let through.
const FLOWS: u32 = 20_000;
/// Of these only so many: what they touch stays in the caches next to the processor.
const FEW: u32 = 1_000;
/// Packets sent before the first round: caches, maps and neighbours settle.
const WARM: u32 = 100_000;

/// Bursts sent to a slow receiver at most.
const MOST_BURSTS: u32 = 12;
/// Fewer packets make no figure.
const ENOUGH: u64 = 10_000;

/// What holds a system in place while it is measured.
#[expect(dead_code, reason = "held for their ends: dropping them detaches")]
enum Holder {
    Product(Box<Kernel>),
    Yard(Box<Yard>),
    Filter(Filter),
    Rules,
}

/// One way to drop or pass what comes.
struct System {
    name: &'static str,
    pair: Option<Pair>,
    holder: Holder,
    each: Vec<f64>,
    passes: bool,
}

impl System {
    fn pair(&self) -> Result<&Pair> {
        match (&self.pair, &self.holder) {
            (Some(pair), _) => Ok(pair),
            (None, Holder::Filter(filter)) => Ok(&filter.pair),
            _ => anyhow::bail!("{} has no interface", self.name),
        }
    }
}

pub(crate) fn run(plan: &Plan, book: &mut Book) -> Result<()> {
    // Not the parallelism available to this thread, which is kept on one CPU.
    let last = aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))? - 1;
    if last == 0 {
        book.note("end to end takes two CPUs: left out");
        return Ok(());
    }
    let mut all = dropping(book)?;
    for send in [FEW, LIST] {
        let what = format!("CPU ns a packet, hot, {LIST} listed sources, {send} of which send, all dropped");
        book.heading(&what);
        measure(plan, book, &mut all, None, draw(0, send))?;
    }
    book.heading(&format!("CPU ns a packet, cold, {LIST} listed sources, all dropped"));
    measure(plan, book, &mut all, Some(last), draw(0, LIST))?;
    drop(all);
    let mut all = passing()?;
    // A socket that nobody reads: packets go all the way, and end there.
    let sockets: Result<Vec<UdpSocket>> = all
        .iter()
        .map(|system| Pair::inside(&system.pair()?.near, || Ok(UdpSocket::bind((NEAR, 9))?)))
        .collect();
    let _sockets = sockets?;
    for flows in [FEW, FLOWS] {
        book.heading(&format!("CPU ns a packet, hot, {flows} flows, all passed to a socket"));
        measure(plan, book, &mut all, None, draw(LIST, flows))?;
    }
    book.heading(&format!("CPU ns a packet, cold, {FLOWS} flows, all passed to a socket"));
    measure(plan, book, &mut all, Some(last), draw(LIST, FLOWS))
}

fn dropping(book: &Book) -> Result<Vec<System>> {
    let mut all = vec![
        yard("empty XDP_DROP", "yard_drop", false)?,
        sentinel("sentinel drops", false)?,
        yard("bare hash drops", "yard_bare", false)?,
        yard("textbook drops", "yard_textbook", false)?,
    ];
    if Filter::available() {
        let filter = Filter::load("xdp-filter drops", None, LIST)?;
        all.push(system(filter.name, None, Holder::Filter(filter), false)?);
    } else {
        book.note("xdp-filter is not installed (Debian package xdp-tools): left out");
    }
    if net::has("nft") {
        let set = "set s { type ipv4_addr; elements = { LIST } }";
        all.push(rules("nft inet prerouting set drops", |pair| {
            let hook = "chain c { type filter hook prerouting priority raw; ip saddr @s drop; }";
            nft(pair, &format!("table inet f {{ {set}\n {hook}\n }}"))
        })?);
        all.push(rules("nft netdev ingress set drops", |pair| {
            let interface = &pair.interface;
            let hook =
                format!("chain c {{ type filter hook ingress device {interface} priority 0; ip saddr @s drop; }}");
            nft(pair, &format!("table netdev f {{ {set}\n {hook}\n }}"))
        })?);
    } else {
        book.note("nft is not installed (Debian package nftables): left out");
    }
    if net::has("ipset") && net::has("iptables") {
        all.push(rules("ipset + iptables raw drops", |pair| {
            let mut list = String::from("create s hash:ip maxelem 65536\n");
            for n in 0..LIST {
                writeln!(list, "add s {}", listed_v4(n))?;
            }
            fed(pair, "ipset restore", &list)?;
            let rule = "iptables -t raw -A PREROUTING -m set --match-set s src -j DROP";
            sh(&format!("ip netns exec {} {rule}", pair.near)).map(drop)
        })?);
    } else {
        book.note("ipset or iptables is not installed (Debian packages of these names): left out");
    }
    Ok(all)
}

fn passing() -> Result<Vec<System>> {
    Ok(vec![
        yard("empty XDP_PASS", "yard_pass", true)?,
        sentinel("sentinel passes, flows accounted", true)?,
        yard("textbook passes", "yard_textbook", true)?,
    ])
}

fn yard(name: &'static str, program: &str, passes: bool) -> Result<System> {
    let pair = Pair::new()?;
    let mut yard = Yard::load(LIST, 0)?;
    Pair::inside(&pair.near, || yard.attach(program, &pair.interface))?;
    system(name, Some(pair), Holder::Yard(Box::new(yard)), passes)
}

fn sentinel(name: &'static str, passes: bool) -> Result<System> {
    let pair = Pair::new()?;
    let mut kernel = product(&config(LIST, 0), LIST, 0)?;
    Pair::inside(&pair.near, || Ok(kernel.attach(std::slice::from_ref(&pair.interface))?))?;
    system(name, Some(pair), Holder::Product(Box::new(kernel)), passes)
}

fn rules(name: &'static str, make: impl FnOnce(&Pair) -> Result<()>) -> Result<System> {
    let pair = Pair::new()?;
    make(&pair)?;
    system(name, Some(pair), Holder::Rules, false)
}

fn nft(pair: &Pair, text: &str) -> Result<()> {
    let list: Vec<String> = (0..LIST).map(|n| listed_v4(n).to_string()).collect();
    fed(pair, "nft -f -", &text.replace("LIST", &list.join(",")))
}

/// Runs a command in the near namespace, `input` on its standard input.
fn fed(pair: &Pair, command: &str, input: &str) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), input)?;
    let path = file.path().display();
    sh(&format!("ip netns exec {} {command} < {path}", pair.near)).map(drop)
}

fn system(name: &'static str, pair: Option<Pair>, holder: Holder, passes: bool) -> Result<System> {
    let system = System {
        name,
        pair,
        holder,
        each: Vec::new(),
        passes,
    };
    // GRO switches polling on where no XDP program does.
    let Pair { near, interface, .. } = system.pair()?;
    sh(&format!("ip netns exec {near} ethtool -K {interface} gro on"))?;
    Ok(system)
}

/// Lets the near device poll in a thread of its own on `cpu`, and finds that; none where it is to poll where frames
/// come from.
fn polling(system: &System, cpu: Option<usize>) -> Result<Option<i32>> {
    let Pair { near, interface, .. } = system.pair()?;
    let threaded = u8::from(cpu.is_some());
    sh(&format!(
        "ip netns exec {near} sh -c 'echo {threaded} > /sys/class/net/{interface}/threaded'"
    ))?;
    let Some(cpu) = cpu else { return Ok(None) };
    let prefix = format!("napi/{interface}-");
    let found = std::fs::read_dir("/proc")?.filter_map(Result::ok).find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let comm = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        comm.starts_with(&prefix).then_some(pid)
    });
    let thread = found.with_context(|| format!("{}: there is no thread {prefix}*", system.name))?;
    run::pin_process(thread, cpu)?;
    Ok(Some(thread))
}

/// Rounds of all systems in turn; cold on `cpu`, or hot.
fn measure(plan: &Plan, book: &mut Book, systems: &mut [System], cpu: Option<usize>, draw: Draw) -> Result<()> {
    let mut sender = Yard::load(1, 0)?;
    let mut threads = Vec::new();
    for system in &mut *systems {
        system.each.clear();
        let thread = polling(system, cpu)?;
        threads.push(thread);
        once(system, thread, &mut sender, draw, WARM)?;
    }
    for _ in 0..plan.rounds {
        for (system, thread) in systems.iter_mut().zip(&threads) {
            let each = once(system, *thread, &mut sender, draw, plan.packets)?;
            system.each.push(each);
        }
    }
    let mut costs = HashMap::new();
    let floor = median(&systems.first().context("nothing to measure")?.each);
    for system in &*systems {
        let paired: Vec<f64> = system.each.iter().zip(&systems[0].each).map(|(a, b)| a - b).collect();
        let cost = floor + median(&paired);
        let how = if cpu.is_none() { "hot" } else { "cold" };
        book.against(&format!("{}, {how}", system.name), cost, "ns/packet", floor);
        costs.insert(system.name, cost);
    }
    if cpu.is_none() {
        gates(book, systems[0].passes, draw.sources, &costs);
    }
    Ok(())
}

fn gates(book: &mut Book, passes: bool, sources: u32, costs: &HashMap<&str, f64>) {
    let over = |a: &str, b: &str| Some(costs.get(a)? / costs.get(b)?);
    let mut at_least = |what: &str, other: &str, goal: f64| {
        if let Some(ratio) = over(other, "sentinel drops") {
            book.at_least(6, &format!("{what}, {sources} sources"), ratio, "×", goal);
        }
    };
    if !passes {
        at_least(
            "CPU a drop: nft inet prerouting set / ours",
            "nft inet prerouting set drops",
            3.5,
        );
        at_least(
            "CPU a drop: nft netdev ingress set / ours",
            "nft netdev ingress set drops",
            3.5,
        );
        at_least(
            "CPU a drop: ipset + iptables raw / ours",
            "ipset + iptables raw drops",
            3.5,
        );
        at_least("CPU a drop: xdp-filter / ours", "xdp-filter drops", 1.4);
        if let Some(ratio) = over("sentinel drops", "empty XDP_DROP") {
            let what = format!("CPU a drop: ours / empty XDP_DROP, {sources} sources");
            book.at_most(6, &what, ratio, "×", 1.2);
        }
    } else if let Some(ratio) = over("sentinel passes, flows accounted", "empty XDP_PASS") {
        let what = format!("accounting {sources} flows adds to an empty pass");
        book.at_most(7, &what, (ratio - 1.0) * 100.0, "%", 20.0);
    }
}

/// Sends to a system until it took `packets`; the time each cost: its polling thread, or the sending one, ns.
///
/// A receiver that is slower than the sender leaves the rest outside its queue, where it costs the sender alone.
fn once(system: &System, thread: Option<i32>, sender: &mut Yard, mut draw: Draw, packets: u32) -> Result<f64> {
    let pair = system.pair()?;
    let begun = received(pair)?;
    let before = thread.map(spent).transpose()?;
    let (mut came, mut sending) = (0, 0.0);
    for _ in 0..MOST_BURSTS {
        sending += Pair::inside(&pair.far, || {
            run::pin(0)?;
            draw.ifindex = nix::net::if_::if_nametoindex(pair.interface.as_str())?;
            sender.draw(draw)?;
            let frame = frame(listed_v4(0), Kind::Udp);
            let run = run::live(sender.program("yard_send")?, &frame, packets)?;
            Ok(run.each * f64::from(packets))
        })?;
        came = drained(pair)? - begun;
        if came >= u64::from(packets) / 2 {
            break;
        }
    }
    ensure!(came >= ENOUGH, "{}: only {came} packets came in", system.name);
    let spent = match (thread, before) {
        (Some(thread), Some(before)) => spent(thread)? - before,
        _ => sending,
    };
    Ok(spent / came as f64)
}

/// Packets the near device took, once no more come.
fn drained(pair: &Pair) -> Result<u64> {
    let mut last = received(pair)?;
    let began = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(2));
        let now = received(pair)?;
        if now == last || began.elapsed() > Duration::from_secs(5) {
            return Ok(now);
        }
        last = now;
    }
}

fn received(pair: &Pair) -> Result<u64> {
    let text = sh(&format!("ip -n {} -j -s link show {}", pair.near, pair.interface))?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    links[0]["stats64"]["rx"]["packets"]
        .as_u64()
        .context("ip tells no packets received")
}

/// Time a thread ran, ns (`/proc/PID/schedstat`).
fn spent(thread: i32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
    let first = text.split_whitespace().next().context("schedstat is empty")?;
    Ok(first.parse()?)
}
