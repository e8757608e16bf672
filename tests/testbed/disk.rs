//! A disk with a cache that a power cut loses, served to a machine as a network block device.
//!
//! In: its first content, a Unix socket, the requests of a qemu. Out: what the disk holds after a cut at any point of what was
//! written. Invariant: what was flushed, or written through, is there after every honest cut; of the rest any part may be
//! missing, to the sector, also from the middle. Deliberately elsewhere: the machine, and what must be on the disk (`xtask`).
//!
//! Protocol: github.com/NetworkBlockDevice/nbd, doc/proto.md (fixed newstyle, simple replies).

use anyhow::{Context, Result, ensure};
use std::io::{BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a drive writes whole or not at all.
const SECTOR: usize = 512;
/// Longest request that is taken; qemu splits what is larger.
const LONGEST: usize = 32 << 20;

const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
const REPLY_MAGIC: u64 = 0x0003_E889_0455_65A9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// HAS_FLAGS, SEND_FLUSH, SEND_FUA.
const FLAGS: u16 = 1 | 4 | 8;
const INVALID: u32 = 22;

/// One thing that was done to the disk.
#[derive(Debug)]
enum Event {
    Write { at: usize, bytes: Vec<u8>, through: bool },
    Flush,
}

#[derive(Debug)]
struct Content {
    first: Vec<u8>,
    now: Vec<u8>,
    log: Vec<Event>,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Content>>);

/// What a cut makes of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of it is lost.
    Nothing,
    /// Of each write all of it, its first sectors, or nothing is there, as a number says it.
    Part(u64),
    /// All of it is there.
    All,
    /// No drive may do that: so many of its last flushes were lies, and what they were about is lost as well.
    Lied(usize),
}

impl Disk {
    /// A disk with this content.
    pub fn new(first: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Content {
            now: first.clone(),
            first,
            log: Vec::new(),
        })))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many things have been done to it so far. Whatever was acknowledged by then has to be in every cut from then on.
    pub fn position(&self) -> usize {
        self.content().log.len()
    }

    /// Serves one machine at this socket, in a thread of its own that ends with the connection.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn serve(&self, socket: &Path) -> Result<std::thread::JoinHandle<Result<()>>> {
        let listener = UnixListener::bind(socket).with_context(|| socket.display().to_string())?;
        let disk = self.clone();
        Ok(std::thread::Builder::new().name("disk".into()).spawn(move || {
            let (stream, _) = listener.accept()?;
            disk.converse(&stream)
        })?)
    }

    fn converse(&self, stream: &UnixStream) -> Result<()> {
        let mut input = BufReader::new(stream);
        let mut output = stream;
        output.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
        let _client_flags: [u8; 4] = take(&mut input)?;
        let size = self.content().now.len() as u64;
        while !negotiate(&mut input, &mut output, size)? {}
        // A machine that was killed leaves in the middle of a request.
        while let Ok(magic) = take(&mut input) {
            ensure!(u32::from_be_bytes(magic) == REQUEST_MAGIC, "no request");
            let Ok(rest) = take::<24>(&mut input) else { break };
            let request = Request::read(&rest)?;
            if request.kind == 2 {
                break;
            }
            let mut bytes = vec![0; if request.kind == 1 { request.length } else { 0 }];
            if input.read_exact(&mut bytes).is_err() {
                break;
            }
            let (error, answer) = self.carry_out(&request, bytes);
            let mut reply = SIMPLE_REPLY_MAGIC.to_be_bytes().to_vec();
            reply.extend(error.to_be_bytes());
            reply.extend(request.cookie);
            reply.extend(answer);
            if output.write_all(&reply).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The error and what was read.
    fn carry_out(&self, request: &Request, bytes: Vec<u8>) -> (u32, Vec<u8>) {
        let Content { now, log, .. } = &mut *self.content();
        let range = request.at..request.at.saturating_add(request.length);
        match request.kind {
            0 => now.get(range).map_or((INVALID, Vec::new()), |read| (0, read.to_vec())),
            1 => {
                let Some(place) = now.get_mut(range) else {
                    return (INVALID, Vec::new());
                };
                place.copy_from_slice(&bytes);
                log.push(Event::Write {
                    at: request.at,
                    bytes,
                    through: request.through,
                });
                (0, Vec::new())
            }
            3 => {
                log.push(Event::Flush);
                (0, Vec::new())
            }
            _ => (INVALID, Vec::new()),
        }
    }

    /// What the disk holds after a cut at a position.
    pub fn after(&self, position: usize, cut: Cut) -> Vec<u8> {
        let content = self.content();
        let log = content.log.get(..position).unwrap_or(&content.log);
        let promised = |event: &Event| matches!(event, Event::Flush | Event::Write { through: true, .. });
        let flushed = |log: &[Event]| log.iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
        let mut image = content.first.clone();
        if let Cut::Lied(lies) = cut {
            let promises = log.iter().enumerate().rev().filter(|(_, event)| promised(event));
            let kept = promises
                .map(|(index, _)| index)
                .nth(lies.saturating_sub(1))
                .unwrap_or(0);
            apply(&mut image, &log[..flushed(&log[..kept])], Cut::All);
        } else {
            let (durable, volatile) = log.split_at(flushed(log));
            apply(&mut image, durable, Cut::All);
            apply(&mut image, volatile, cut);
        }
        image
    }
}

/// Writes what a cut leaves of some writes, in their order.
fn apply(image: &mut [u8], log: &[Event], cut: Cut) {
    let mut draw = match cut {
        Cut::Part(seed) => seed,
        _ => 0,
    };
    for event in log {
        let Event::Write { at, bytes, through } = event else {
            continue;
        };
        let kept = match cut {
            _ if *through => bytes.len(),
            Cut::All => bytes.len(),
            Cut::Nothing | Cut::Lied(_) => 0,
            Cut::Part(_) => {
                let drawn = next(&mut draw);
                match drawn % 4 {
                    0 => SECTOR * ((drawn >> 8) as usize % (bytes.len() / SECTOR).max(1)),
                    1 => bytes.len(),
                    _ => 0,
                }
            }
        };
        if let Some(place) = image.get_mut(*at..*at + kept) {
            place.copy_from_slice(&bytes[..kept]);
        }
    }
}

/// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct Request {
    through: bool,
    /// 0 read, 1 write, 2 end, 3 flush.
    kind: u16,
    cookie: [u8; 8],
    at: usize,
    length: usize,
}

impl Request {
    fn read(bytes: &[u8; 24]) -> Result<Self> {
        let number =
            |range: std::ops::Range<usize>| bytes[range].iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let length = number(20..24) as usize;
        ensure!(length <= LONGEST, "a request of {length} bytes");
        let mut cookie = [0; 8];
        cookie.copy_from_slice(&bytes[4..12]);
        Ok(Self {
            through: number(0..2) & 1 == 1,
            kind: number(2..4) as u16,
            cookie,
            at: usize::try_from(number(12..20))?,
            length,
        })
    }
}

fn take<const N: usize>(input: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Answers one option; whether the transmission begins.
fn negotiate(input: &mut impl Read, output: &mut impl Write, size: u64) -> Result<bool> {
    const ABORT: u32 = 2;
    const GO: u32 = 7;
    const ACK: u32 = 1;
    const INFO: u32 = 3;
    const UNSUPPORTED: u32 = 0x8000_0001;
    ensure!(u64::from_be_bytes(take(input)?) == OPTION_MAGIC, "no option");
    let option = u32::from_be_bytes(take(input)?);
    let length = u32::from_be_bytes(take(input)?) as usize;
    ensure!(length <= LONGEST && option != ABORT, "no client of ours");
    let mut data = vec![0; length];
    input.read_exact(&mut data)?;
    let mut say = |kind: u32, data: &[u8]| {
        let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
        reply.extend(option.to_be_bytes());
        reply.extend(kind.to_be_bytes());
        reply.extend((data.len() as u32).to_be_bytes());
        reply.extend(data);
        output.write_all(&reply)
    };
    if option != GO {
        say(UNSUPPORTED, &[])?;
        return Ok(false);
    }
    let mut export = vec![0, 0];
    export.extend(size.to_be_bytes());
    export.extend(FLAGS.to_be_bytes());
    say(INFO, &export)?;
    say(ACK, &[])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &Disk, at: usize, byte: u8, sectors: usize, through: bool) {
        let request = Request {
            through,
            kind: 1,
            cookie: [0; 8],
            at: at * SECTOR,
            length: sectors * SECTOR,
        };
        assert_eq!(disk.carry_out(&request, vec![byte; sectors * SECTOR]).0, 0);
    }

    fn flush(disk: &Disk) {
        let request = Request {
            through: false,
            kind: 3,
            cookie: [0; 8],
            at: 0,
            length: 0,
        };
        assert_eq!(disk.carry_out(&request, Vec::new()).0, 0);
    }

    /// The first byte of each sector.
    fn sectors(image: &[u8]) -> Vec<u8> {
        image.iter().step_by(SECTOR).copied().collect()
    }

    #[test]
    fn what_was_flushed_or_written_through_is_there_and_the_rest_need_not_be() {
        let disk = Disk::new(vec![0; 8 * SECTOR]);
        write(&disk, 0, 1, 2, false);
        flush(&disk);
        write(&disk, 1, 2, 1, false);
        write(&disk, 4, 3, 4, false);
        write(&disk, 3, 4, 1, true);
        let end = disk.position();
        assert_eq!(sectors(&disk.after(end, Cut::All)), [1, 2, 0, 4, 3, 3, 3, 3]);
        assert_eq!(sectors(&disk.after(end, Cut::Nothing)), [1, 1, 0, 4, 0, 0, 0, 0]);
        assert_eq!(sectors(&disk.after(2, Cut::Nothing)), [1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sectors(&disk.after(1, Cut::Nothing)), [0; 8]);
        assert_eq!(sectors(&disk.after(2, Cut::Lied(1))), [0; 8], "its only flush was none");
        assert_eq!(sectors(&disk.after(end, Cut::Lied(1))), [1, 1, 0, 0, 0, 0, 0, 0]);
        let mut torn = 0;
        for seed in 0..200 {
            let left = sectors(&disk.after(end, Cut::Part(seed)));
            assert_eq!((left[0], left[3]), (1, 4), "{left:?}");
            torn += usize::from(left[4] == 3 && left[7] == 0);
        }
        assert!(torn > 0, "no write is ever torn");
    }

    #[test]
    fn what_lies_outside_of_it_is_refused() {
        let disk = Disk::new(vec![0; SECTOR]);
        for at in [1, usize::MAX / 2] {
            let request = Request {
                through: false,
                kind: 1,
                cookie: [0; 8],
                at,
                length: SECTOR,
            };
            assert_eq!(disk.carry_out(&request, vec![0; SECTOR]).0, INVALID);
        }
        assert_eq!(disk.position(), 0);
    }
}
