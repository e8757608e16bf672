//! Capture files: pcap and pcapng, read record by record, whatever the snap length.

use crate::files::{Meter, Metered};
use flate2::read::MultiGzDecoder;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// The longest record taken for one: tcpdump's own limit (MAXIMUM_SNAPLEN), bytes.
const MAX_RECORD: usize = 262_144;
/// Length of the Ethernet header put in front of packets captured without one.
const ETHERNET: usize = 14;

/// What a compressed file begins with (RFC 1952, 2.3.1).
pub(super) const GZIP: [u8; 2] = [0x1f, 0x8b];

const BLOCK_PACKET_OLD: u32 = 2;
const BLOCK_PACKET_SIMPLE: u32 = 3;
const BLOCK_PACKET: u32 = 6;

/// Why a capture cannot be read (further).
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("cannot read {} (check the path and its permissions)", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{} is empty; was the capture stopped before its header was written?", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// It begins like something else.
    #[error("{} is no capture: it begins with {magic}; {mend}", path.display())]
    Magic {
        /// Which file.
        path: PathBuf,
        /// Its first bytes.
        magic: String,
        /// What to do.
        mend: &'static str,
    },
    /// The link layer is not one we read.
    #[error(
        "link type {link} is not supported; convert the capture to Ethernet (for example \
         `editcap -T ether`, or capture with `tcpdump -y EN10MB`)"
    )]
    LinkType {
        /// Number and name, as in tcpdump's list.
        link: String,
    },
    /// A record is cut short or absurd.
    #[error(
        "record {record} cannot be read: {cause}; everything before it is kept (repair with `pcapfix`, or cut with `editcap -r`)"
    )]
    Record {
        /// Its number, from 1.
        record: u64,
        /// What is wrong.
        cause: String,
    },
}

/// A captured packet as an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Time of capture, ns since 1970.
    pub at_ns: u64,
    /// Length on the wire, bytes, as the capture says; without the header we may have put in front.
    pub wire_len: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

enum Reader {
    Pcap {
        reader: PcapReader<Box<dyn Read + Send>>,
        nanos: bool,
        link: Link,
    },
    Ng(PcapNgReader<Box<dyn Read + Send>>),
}

/// Link layers that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Ethernet,
    /// Linux cooked capture: 16 bytes, protocol in the last two.
    Sll,
    /// Its second version: 20 bytes, protocol in the first two.
    Sll2,
    /// No header at all.
    Ip,
    /// BSD loopback: 4 bytes of address family.
    Loopback,
}

impl Link {
    fn of(link: DataLink) -> Result<Self, CaptureError> {
        // The upper half of the field may carry the length of the frame check sequence.
        match u32::from(link) & 0xffff {
            1 => Ok(Self::Ethernet),
            113 => Ok(Self::Sll),
            276 => Ok(Self::Sll2),
            12 | 14 | 101 | 228 | 229 => Ok(Self::Ip),
            0 | 108 => Ok(Self::Loopback),
            number => Err(CaptureError::LinkType {
                link: format!("{number} ({link:?})"),
            }),
        }
    }

    /// Puts an Ethernet header where another link header was.
    fn frame(self, data: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let (skip, ethertype) = match self {
            Self::Ethernet => {
                out.extend_from_slice(data);
                return;
            }
            Self::Sll => (16, data.get(14..16).and_then(|p| p.try_into().ok())),
            Self::Sll2 => (20, data.get(..2).and_then(|p| p.try_into().ok())),
            Self::Ip => (0, ethertype(data)),
            Self::Loopback => (4, data.get(4..).and_then(ethertype)),
        };
        out.resize(ETHERNET, 0);
        out[12..].copy_from_slice(&ethertype.unwrap_or([0, 0]));
        out.extend_from_slice(data.get(skip..).unwrap_or_default());
    }
}

/// The EtherType of a bare IP packet.
fn ethertype(packet: &[u8]) -> Option<[u8; 2]> {
    match packet.first()? >> 4 {
        4 => Some([0x08, 0x00]),
        6 => Some([0x86, 0xdd]),
        _ => None,
    }
}

/// An open capture.
pub struct Capture {
    path: PathBuf,
    reader: Reader,
    records: u64,
    raw: Vec<u8>,
    frame: Vec<u8>,
    broken: bool,
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture")
            .field("path", &self.path)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

/// The first bytes of a file, and the whole of it.
fn begin(mut file: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut magic = Vec::with_capacity(4);
    (&mut file).take(4).read_to_end(&mut magic)?;
    let whole = Box::new(Cursor::new(magic.clone()).chain(file));
    Ok((magic, whole))
}

impl Capture {
    /// Opens a capture file, compressed with gzip (RFC 1952) or not.
    ///
    /// # Errors
    /// [`CaptureError`] where the file is missing, empty, no capture, or of a link type that is not read.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Self::open_metered(path, &Meter::default())
    }

    /// The same, and tells how many bytes of the file were read.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_metered(path: &Path, meter: &Meter) -> Result<Self, CaptureError> {
        let io = |source| CaptureError::Io {
            path: path.to_owned(),
            source,
        };
        let file = Metered(File::open(path).map_err(io)?, meter.clone());
        Self::of(path, Box::new(file))
    }

    /// A capture from whatever its bytes come from; `path` is what it is called.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(path: &Path, bytes: Box<dyn Read + Send>) -> Result<Self, CaptureError> {
        let io = |source| CaptureError::Io {
            path: path.to_owned(),
            source,
        };
        let (mut magic, mut whole) = begin(bytes).map_err(io)?;
        if magic.starts_with(&GZIP) {
            let unpacked = Box::new(BufReader::new(MultiGzDecoder::new(whole)));
            (magic, whole) = begin(unpacked).map_err(|e| broken(1, &PcapError::IoError(e)))?;
        }
        let reader = match magic[..] {
            [] => return Err(CaptureError::Empty { path: path.to_owned() }),
            [0x0a, 0x0d, 0x0d, 0x0a] => Reader::Ng(PcapNgReader::new(whole).map_err(|e| broken(1, &e))?),
            [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1] => {
                let reader = PcapReader::new(whole).map_err(|e| broken(1, &e))?;
                let header = reader.header();
                Reader::Pcap {
                    nanos: header.ts_resolution == TsResolution::NanoSecond,
                    link: Link::of(header.datalink)?,
                    reader,
                }
            }
            _ => {
                return Err(CaptureError::Magic {
                    path: path.to_owned(),
                    magic: format!("{magic:02x?}"),
                    mend: "give a pcap or pcapng file, compressed with gzip or not",
                });
            }
        };
        Ok(Self {
            path: path.to_owned(),
            reader,
            records: 0,
            raw: Vec::new(),
            frame: Vec::new(),
            broken: false,
        })
    }

    /// Records read so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The next packet; `None` at the end of the file and after an error.
    ///
    /// # Errors
    /// [`CaptureError::Record`] where a record is cut short or contradicts itself; [`CaptureError::LinkType`] where a
    /// pcapng interface has a link type that is not read.
    #[expect(
        clippy::should_implement_trait,
        reason = "a frame borrows the reader, which Iterator cannot express"
    )]
    pub fn next(&mut self) -> Option<Result<Frame<'_>, CaptureError>> {
        if self.broken {
            return None;
        }
        match self.advance() {
            Ok(None) => None,
            Ok(Some((at_ns, wire_len, link))) => {
                self.records += 1;
                link.frame(&self.raw, &mut self.frame);
                Some(Ok(Frame {
                    at_ns,
                    wire_len,
                    bytes: &self.frame,
                }))
            }
            Err(error) => {
                self.broken = true;
                Some(Err(error))
            }
        }
    }

    /// Reads the next packet's data into `raw`.
    fn advance(&mut self) -> Result<Option<(u64, u32, Link)>, CaptureError> {
        let number = self.records + 1;
        let fault = |cause: &str| CaptureError::Record {
            record: number,
            cause: cause.to_owned(),
        };
        match &mut self.reader {
            Reader::Pcap { reader, nanos, link } => {
                let Some(record) = reader.next_raw_packet() else {
                    return Ok(None);
                };
                let record = record.map_err(|e| broken(number, &e))?;
                if record.data.len() > MAX_RECORD {
                    return Err(fault("it claims more than 262144 bytes"));
                }
                self.raw.clear();
                self.raw.extend_from_slice(&record.data);
                let fraction = u64::from(record.ts_frac) * if *nanos { 1 } else { 1000 };
                let at_ns = u64::from(record.ts_sec) * 1_000_000_000 + fraction;
                Ok(Some((at_ns, record.orig_len, *link)))
            }
            Reader::Ng(reader) => loop {
                let big = reader.section().endianness == Endianness::Big;
                let (kind, body) = {
                    let Some(block) = reader.next_raw_block() else {
                        return Ok(None);
                    };
                    let block = block.map_err(|e| broken(number, &e))?;
                    (block.type_, block.body.into_owned())
                };
                let word = |offset: usize| {
                    let bytes: [u8; 4] = body.get(offset..offset + 4)?.try_into().ok()?;
                    Some(if big {
                        u32::from_be_bytes(bytes)
                    } else {
                        u32::from_le_bytes(bytes)
                    })
                };
                let short = || fault("its block is too short");
                let (interface, stamp, wire_len, data) = match kind {
                    BLOCK_PACKET | BLOCK_PACKET_OLD => {
                        let first = word(0).ok_or_else(short)?;
                        // The obsolete block has a 16-bit interface and a drop count in the first word.
                        let interface = match (kind, big) {
                            (BLOCK_PACKET, _) => first,
                            (_, true) => first >> 16,
                            (_, false) => first & 0xffff,
                        };
                        let high = u64::from(word(4).ok_or_else(short)?);
                        let low = u64::from(word(8).ok_or_else(short)?);
                        let captured = word(12).ok_or_else(short)? as usize;
                        let wire = word(16).ok_or_else(short)?;
                        let end = captured.checked_add(20).ok_or_else(short)?;
                        let data = body
                            .get(20..end)
                            .ok_or_else(|| fault("it claims more bytes than its block holds"))?;
                        (interface, high << 32 | low, wire, data)
                    }
                    BLOCK_PACKET_SIMPLE => {
                        let wire = word(0).ok_or_else(short)?;
                        let held = body.len() - 4;
                        // No time and no captured length: the smaller of wire length and block.
                        (0, 0, wire, &body[4..4 + held.min(wire as usize)])
                    }
                    _ => continue,
                };
                let Some(described) = reader.interfaces().get(interface as usize) else {
                    return Err(fault(&format!(
                        "it names interface {interface}, which the file does not describe"
                    )));
                };
                let link = Link::of(described.linktype)?;
                let (mut resolution, mut offset) = (6, 0);
                for option in &described.options {
                    match option {
                        InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
                        InterfaceDescriptionOption::IfTsOffset(value) => offset = *value,
                        _ => {}
                    }
                }
                if data.len() > MAX_RECORD {
                    return Err(fault("it claims more than 262144 bytes"));
                }
                self.raw.clear();
                self.raw.extend_from_slice(data);
                let at_ns = nanoseconds(stamp, resolution).saturating_add(offset.saturating_mul(1_000_000_000));
                return Ok(Some((at_ns, wire_len, link)));
            },
        }
    }
}

/// A pcapng stamp in ns; `resolution` as in the option `if_tsresol`: a negative power of ten, or of two with the top bit.
fn nanoseconds(stamp: u64, resolution: u8) -> u64 {
    let scaled = if resolution & 0x80 != 0 {
        let shift = u32::from(resolution & 0x7f);
        (u128::from(stamp) * 1_000_000_000).checked_shr(shift).unwrap_or(0)
    } else if resolution <= 9 {
        u128::from(stamp) * 10u128.pow(9 - u32::from(resolution))
    } else {
        10u128
            .checked_pow(u32::from(resolution) - 9)
            .map_or(0, |d| u128::from(stamp) / d)
    };
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn broken(record: u64, error: &PcapError) -> CaptureError {
    let cause = match error {
        PcapError::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            "the file ends inside it, or its length is absurd".to_owned()
        }
        PcapError::IoError(e) => e.to_string(),
        other => other.to_string(),
    };
    CaptureError::Record { record, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_scale_by_their_resolution() {
        assert_eq!(nanoseconds(1_500_000, 6), 1_500_000_000);
        assert_eq!(nanoseconds(1_500, 3), 1_500_000_000);
        assert_eq!(nanoseconds(1_500, 9), 1_500);
        assert_eq!(nanoseconds(15_000, 10), 1_500);
        assert_eq!(nanoseconds(3 << 19, 0x94), 1_500_000_000);
        assert_eq!(nanoseconds(u64::MAX, 0), u64::MAX);
    }

    #[test]
    fn other_link_headers_become_ethernet() {
        let mut out = Vec::new();
        let ip = [0x45, 1, 2, 3];
        let with = |head: &[u8]| [head, &ip].concat();
        let mut cooked = [0; 16];
        cooked[14] = 8;
        let mut cooked2 = [0; 20];
        cooked2[0] = 8;
        for (link, data) in [
            (Link::Ip, ip.to_vec()),
            (Link::Sll, with(&cooked)),
            (Link::Sll2, with(&cooked2)),
            (Link::Loopback, with(&[2, 0, 0, 0])),
        ] {
            link.frame(&data, &mut out);
            assert_eq!(out[12..], [8, 0, 0x45, 1, 2, 3], "{link:?}");
        }
        Link::Sll.frame(&[1, 2], &mut out);
        assert_eq!(
            out.len(),
            ETHERNET,
            "a record shorter than its link header is an empty frame"
        );
    }
}
