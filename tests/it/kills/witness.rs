//! Who gets through, as packets tell: one from each address in question, and an ear behind the agent.

use super::Book;
use crate::scene::{SOON, Scene};
use anyhow::{Context, Result, ensure};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use testbed::child::{self, Child};
use testbed::wait;

/// Writes down who sent what.
const EAR: &str = r#"
import socket, sys
ear = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
ear.bind(("::", 9999))
print("listening", flush=True)
while True:
    data, peer = ear.recvfrom(100)
    print(data.decode(), peer[0].removeprefix("::ffff:"), flush=True)
"#;

/// Sends one datagram from each address of a list, and then the last ones from the host's own.
const MOUTH: &str = r#"
import ipaddress, socket, struct, sys, time
to4, to6, own, token = sys.argv[1:5]
def total(data):
    data += b"\0" * (len(data) % 2)
    s = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff or 0xffff
v4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
v6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
for text in sys.stdin.read().split() + [own] * 3:
    source, last = ipaddress.ip_address(text), text == own
    target = ipaddress.ip_address(to4 if source.version == 4 else to6)
    payload = (token + ("!" if last else ".")).encode()
    size = 8 + len(payload)
    pseudo = source.packed + target.packed + struct.pack("!IxxxB" if source.version == 6 else "!xBH", *((size, 17) if source.version == 6 else (17, size)))
    bare = struct.pack("!HHHH", 40000, 9999, size, 0) + payload
    udp = struct.pack("!HHHH", 40000, 9999, size, total(pseudo + bare)) + payload
    if last: time.sleep(0.02)
    if source.version == 4:
        v4.sendto(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + size, 0, 0, 64, 17, 0, source.packed, target.packed) + udp, (to4, 0))
    else:
        v6.sendto(struct.pack("!IHBB16s16s", 6 << 28, size, 17, 64, source.packed, target.packed) + udp, (to6, 0))
"#;

/// Targets asked about each time.
const ASKED: usize = 60;

/// The ear.
pub(super) struct Witness(RefCell<Child>);

impl Witness {
    pub(super) fn new(scene: &Scene) -> Result<Self> {
        let mut ear = Child::spawn(scene.protected.program("python3", &["-c", EAR]))?;
        wait::until("the ear", SOON, || Ok(ear.output().contains("listening").then_some(())))?;
        Ok(Self(RefCell::new(ear)))
    }

    /// Nothing comes from who is blocked; something does from everybody else.
    pub(super) fn hears(&self, scene: &Scene, book: &Book, turn: u32) -> Result<()> {
        let blocked = book.blocks.iter().filter(|(_, promise)| promise.bars());
        let blocked: BTreeSet<IpAddr> = spread(blocked.map(|(target, _)| target), turn);
        let counted = book.blocks.iter().filter(|(_, promise)| promise.only_counts());
        let counted: Vec<&String> = counted.map(|(target, _)| target).collect();
        let strangers = ["45.39.7.7", "45.40.249.250", "2001:db8:7::7", "2001:db8:5:ffff::7"].map(str::to_owned);
        let free = book.freed.iter().chain(&book.allowed).chain(&strangers);
        let free = free.chain(counted);
        let acts = book.blocks.iter().filter(|(_, promise)| !promise.only_counts());
        let acts: Vec<&String> = acts.map(|(target, _)| target).collect();
        let covered = |ip: &IpAddr| acts.iter().any(|target| covers(target, *ip));
        let free: BTreeSet<IpAddr> = spread(free, turn).into_iter().filter(|ip| !covered(ip)).collect();

        let token = format!("look{turn}");
        let list = scene.agent.path("sources");
        let lines: Vec<String> = blocked.union(&free).map(ToString::to_string).collect();
        std::fs::write(&list, lines.join("\n"))?;
        let (to4, to6) = (scene.protected.v4.to_string(), scene.protected.v6.to_string());
        let own = scene.other.v4.to_string();
        let script = "exec python3 -c \"$1\" \"$2\" \"$3\" \"$4\" \"$5\" < \"$6\"";
        let file = list.display().to_string();
        let command = scene
            .other
            .program("sh", &["-c", script, "sh", MOUTH, &to4, &to6, &own, &token, &file]);
        child::must(command, SOON)?;
        let heard = wait::until("the last datagram", SOON, || {
            let text = self.0.borrow_mut().output();
            let last = format!("{token}! ");
            if !text.lines().any(|line| line.starts_with(&last)) {
                return Ok(None);
            }
            let first = format!("{token}. ");
            let from = text.lines().filter_map(|line| line.strip_prefix(&first)?.parse().ok());
            Ok(Some(from.collect::<BTreeSet<IpAddr>>()))
        })?;
        let unheard: Vec<_> = free.difference(&heard).collect();
        ensure!(unheard.is_empty(), "nothing is heard of {unheard:?}, who are free");
        let through: Vec<_> = blocked.intersection(&heard).collect();
        if book.stopped {
            ensure!(
                through.len() == blocked.len(),
                "stopped, and only {through:?} get through"
            );
        } else {
            ensure!(through.is_empty(), "{through:?} get through, who are blocked");
        }
        Ok(())
    }
}

/// Some of them, others each time; of a prefix an address within.
fn spread<'a>(targets: impl Iterator<Item = &'a String>, turn: u32) -> BTreeSet<IpAddr> {
    let all: Vec<IpAddr> = targets.filter_map(|target| within(target).ok()).collect();
    let step = all.len().div_ceil(ASKED).max(1);
    all.into_iter().skip(turn as usize % step).step_by(step).collect()
}

fn within(target: &str) -> Result<IpAddr> {
    let (base, length) = target.split_once('/').unwrap_or((target, ""));
    let base: IpAddr = base.parse().context("no address")?;
    Ok(match (base, length) {
        (_, "" | "32" | "128") => base,
        (IpAddr::V4(base), _) => IpAddr::from((u32::from(base) + 77).to_be_bytes()),
        (IpAddr::V6(base), _) => IpAddr::from((u128::from(base) + 0x77).to_be_bytes()),
    })
}

/// Whether a /24, a /64 or an address covers it; the book has no others.
fn covers(target: &str, ip: IpAddr) -> bool {
    let Some((base, length)) = target.split_once('/') else {
        return false;
    };
    match (base.parse(), ip) {
        (Ok(IpAddr::V4(base)), IpAddr::V4(ip)) => {
            let bits = u32::from(base) ^ u32::from(ip);
            if length == "24" { bits >> 8 == 0 } else { bits == 0 }
        }
        (Ok(IpAddr::V6(base)), IpAddr::V6(ip)) => {
            let bits = u128::from(base) ^ u128::from(ip);
            if length == "64" { bits >> 64 == 0 } else { bits == 0 }
        }
        _ => false,
    }
}
