//! What a wire would have carried: tcpdump at the protected host, and the packets it wrote.

use crate::child::Child;
use crate::net::Host;
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufReader, Read};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Bytes kept of a packet: all headers, no payload to speak of.
const SNAP: u32 = 96;
/// A capture that reaches this is no session but an accident; it fails.
const MAX_PACKETS: u64 = 20_000_000;
const START: Duration = Duration::from_secs(20);

/// A capture under way.
pub(super) struct Capture {
    tcpdump: Child,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caught {
    pub(super) packets: u64,
    /// Lost between interface and file, because tcpdump was too slow.
    pub(super) dropped: u64,
}

impl Capture {
    /// Starts it and waits until it listens.
    pub(super) fn start(host: &Host, file: &Path) -> Result<Self> {
        // -Z: it opens the file as who it is; Debian's build would become `tcpdump` first.
        let path = file.to_str().context("the folder's name is no UTF-8; choose another")?;
        let line = format!("-i eth0 -n -s {SNAP} -B 32768 -c {MAX_PACKETS} -Z root -w");
        let mut args: Vec<&str> = line.split(' ').collect();
        args.push(path);
        let mut tcpdump = Child::spawn(host.program("tcpdump", &args))?;
        wait::until("tcpdump to listen", START, || {
            let said = tcpdump.output();
            ensure!(tcpdump.ended()?.is_none(), "tcpdump ended: {said}");
            Ok(said.contains("listening on").then_some(()))
        })?;
        Ok(Self { tcpdump })
    }

    /// Ends it, and reads what it counted.
    pub(super) fn stop(mut self) -> Result<Caught> {
        if self.tcpdump.ended()?.is_some() {
            bail!("tcpdump ended before its time: {}", self.tcpdump.output());
        }
        self.tcpdump.signal("INT")?;
        let finished = self.tcpdump.wait(START)?;
        ensure!(finished.code == 0, "tcpdump: {}", finished.output);
        counts(&finished.output)
    }
}

/// `N packets captured`, `N packets dropped by kernel` (and by the interface, where it says so).
fn counts(said: &str) -> Result<Caught> {
    let number = |line: &str| line.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    let sum = |end: &str| {
        let lines = said.lines().filter(|line| line.contains(end));
        lines.map(number).collect::<Option<Vec<u64>>>()
    };
    let (captured, dropped) = (sum("captured"), sum("dropped by"));
    match (captured.as_deref(), dropped.as_deref()) {
        (Some([packets]), Some(dropped @ [_, ..])) => Ok(Caught {
            packets: *packets,
            dropped: dropped.iter().sum(),
        }),
        _ => bail!("tcpdump did not say what it captured and dropped: {said}"),
    }
}

/// Hands over when (s since 1970), from where and to where each IP packet of a capture went; returns how many packets
/// there are of any kind. The file is our own tcpdump's: microseconds, this machine's byte order, Ethernet
/// (pcap-savefile(5)).
pub(super) fn walk(file: &Path, mut each: impl FnMut(f64, IpAddr, IpAddr)) -> Result<u64> {
    let mut input = BufReader::new(File::open(file)?);
    let mut head = [0; 24];
    input.read_exact(&mut head)?;
    let word = |bytes: &[u8], at: usize| {
        let bytes: [u8; 4] = bytes[at..at + 4].try_into().unwrap_or_default();
        u32::from_ne_bytes(bytes)
    };
    ensure!(
        word(&head, 0) == 0xa1b2_c3d4,
        "tcpdump wrote something else than a pcap"
    );
    let mut packets = 0;
    let mut record = [0; 16];
    let mut bytes = Vec::new();
    loop {
        match input.read_exact(&mut record) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(packets),
            Err(error) => return Err(error.into()),
        }
        let kept = word(&record, 8);
        ensure!(kept <= SNAP, "the capture is damaged after {packets} packets");
        bytes.resize(kept as usize, 0);
        input.read_exact(&mut bytes).context("the capture broke off")?;
        packets += 1;
        let at = f64::from(word(&record, 0)) + f64::from(word(&record, 4)) / 1e6;
        if let Some((from, to)) = ends(&bytes) {
            each(at, from, to);
        }
    }
}

/// Source and destination of an Ethernet frame with IP in it (RFC 791, RFC 8200).
fn ends(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?));
    match frame.get(12..14)? {
        [0x08, 0x00] => Some((v4(26)?, v4(30)?)),
        [0x86, 0xdd] => Some((v6(22)?, v6(38)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tcpdump_counted_is_read() {
        let said = "tcpdump: listening on eth0\n12 packets captured\n14 packets received by filter\n2 packets dropped by \
                    kernel\n1 packet dropped by interface\n";
        let caught = counts(said).expect("counts");
        assert_eq!((caught.packets, caught.dropped), (12, 3));
        assert!(counts("12 packets captured\n").is_err());
        assert!(counts("").is_err());
    }

    fn pcap(kept: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("file");
        let mut bytes = [0xa1b2_c3d4_u32, 0, 0, 0, SNAP, 1].map(u32::to_ne_bytes).concat();
        bytes.extend([1_700_000_000, 500_000, kept, 1500].map(u32::to_ne_bytes).concat());
        let mut frame = [0; 34];
        frame[12] = 8;
        frame[26..34].copy_from_slice(&[192, 0, 2, 20, 192, 0, 2, 1]);
        bytes.extend(frame);
        std::fs::write(file.path(), bytes).expect("written");
        file
    }

    #[test]
    fn packets_are_counted_with_their_ends_and_damage_is_said() {
        let mut seen = Vec::new();
        let packets = walk(pcap(34).path(), |at, from, to| seen.push((at, from, to))).expect("reads");
        assert_eq!(packets, 1);
        assert_eq!(seen, [(1_700_000_000.5, [192, 0, 2, 20].into(), [192, 0, 2, 1].into())]);
        let mut six = [0; 54];
        six[12..14].copy_from_slice(&[0x86, 0xdd]);
        (six[37], six[53]) = (7, 9);
        let address = |last: u16| IpAddr::from([0, 0, 0, 0, 0, 0, 0, last]);
        assert_eq!(ends(&six), Some((address(7), address(9))));
        assert_eq!((ends(&six[..53]), ends(&[0; 60])), (None, None));
        for broken in [SNAP + 1, 35, u32::MAX] {
            assert!(walk(pcap(broken).path(), |_, _, _| ()).is_err(), "{broken}");
        }
    }
}
