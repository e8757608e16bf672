//! The file's bytes.

use super::error::JournalFlaw;
use crate::detect::{Collector, Contradiction, Gain, Kept};
use crate::features::{Vector, WIDTH};
use crate::model::record::{Schema, Sum};
use crate::types::{Timestamp, hex};
use sentinel_common::addr::Addr;
use sha2::{Digest, Sha256};

/// Of the file. Another one is refused.
pub const FORMAT: u32 = 1;
/// What it begins with.
const MAGIC: [u8; 8] = *b"SNTLEARN";
/// Magic, format, schema (version, digest), model, since, sum.
const HEADER: usize = 8 + 4 + 4 + 32 + 32 + 8 + 32;
/// Four counters and two numbers of entries.
const COUNTS: usize = 4 * 8 + 2 * 4;
/// An accused source.
const ACCUSED: usize = 16;
/// A record: place, number, source, vector.
const KEPT: usize = 4 + 8 + 16 + WIDTH * 8;
/// The longest content of a batch: a whole collection.
const MAX_CONTENT: usize = COUNTS + Collector::ACCUSED * ACCUSED + Collector::ROOM * KEPT;
/// A batch at its longest, bytes.
pub(super) const MAX_BATCH: u64 = (4 + MAX_CONTENT + 32) as u64;
/// The file at its longest, bytes: 24 MB.
pub const MAX_BYTES: u64 = HEADER as u64 + 2 * MAX_BATCH;

/// What a collection was made with, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Features of its vectors.
    pub schema: Schema,
    /// SHA-256 of the model as trained.
    pub model: Sum,
    /// Since when it collects.
    pub since: Timestamp,
}

/// What a file holds.
pub(super) struct Read {
    /// As of the last whole batch.
    pub(super) collector: Collector,
    /// What the next batch is chained to.
    pub(super) sum: Sum,
    /// Bytes up to the end of the last whole batch.
    pub(super) whole: u64,
}

impl Header {
    /// Its bytes, and the sum that the first batch is chained to.
    pub(super) fn encode(&self) -> (Vec<u8>, Sum) {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(FORMAT.to_le_bytes());
        out.extend(self.schema.version.to_le_bytes());
        out.extend(self.schema.digest);
        out.extend(self.model);
        out.extend(self.since.0.to_le_bytes());
        let sum: Sum = Sha256::digest(&out).into();
        out.extend(sum);
        (out, sum)
    }

    /// Reads one and holds it against ours. Gives since when, and the sum.
    fn read(bytes: &mut Bytes<'_>, ours: &Self) -> Result<(Timestamp, Sum), JournalFlaw> {
        let all = bytes.0;
        let magic = bytes.array().filter(|magic| *magic == MAGIC);
        let (Some(_), Some(format)) = (magic, bytes.u32()) else {
            return Err(JournalFlaw::NotOne);
        };
        if format != FORMAT {
            return Err(JournalFlaw::Format {
                found: format,
                ours: FORMAT,
            });
        }
        let fields = (|| {
            Some((
                bytes.u32()?,
                bytes.array::<32>()?,
                bytes.array::<32>()?,
                bytes.array()?,
                bytes.array::<32>()?,
            ))
        })();
        let Some((version, schema, model, since, sum)) = fields else {
            return Err(JournalFlaw::Header);
        };
        if Sum::from(Sha256::digest(&all[..HEADER - sum.len()])) != sum {
            return Err(JournalFlaw::Header);
        }
        if (version, schema) != (ours.schema.version, ours.schema.digest) {
            return Err(JournalFlaw::Schema {
                found: version,
                ours: ours.schema.version,
            });
        }
        if model != ours.model {
            return Err(JournalFlaw::Model {
                found: hex(&model[..8]),
                ours: hex(&ours.model[..8]),
            });
        }
        Ok((Timestamp(i64::from_le_bytes(since)), sum))
    }
}

/// Adds a batch behind what has this sum; gives the next sum.
pub(super) fn append(out: &mut Vec<u8>, sum: &Sum, gain: &Gain) -> Sum {
    let from = out.len();
    let length = COUNTS + gain.accused.len() * ACCUSED + gain.kept.len() * KEPT;
    out.reserve(4 + length + sum.len());
    out.extend((length as u32).to_le_bytes());
    for count in [gain.seen, gain.left_out, gain.drawn, gain.random] {
        out.extend(count.to_le_bytes());
    }
    out.extend((gain.accused.len() as u32).to_le_bytes());
    out.extend((gain.kept.len() as u32).to_le_bytes());
    for source in &gain.accused {
        out.extend(source.0);
    }
    for (place, kept) in &gain.kept {
        out.extend(place.to_le_bytes());
        out.extend(kept.number.to_le_bytes());
        out.extend(kept.source.0);
        for value in kept.vector.0 {
            out.extend(value.to_le_bytes());
        }
    }
    let next = chain(sum, &out[from..]);
    out.extend(next);
    next
}

/// Reads a file up to its last whole batch.
pub(super) fn read(bytes: &[u8], ours: &Header) -> Result<Read, JournalFlaw> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(JournalFlaw::TooLong { limit: MAX_BYTES });
    }
    let mut rest = Bytes(bytes);
    let (since, mut sum) = Header::read(&mut rest, ours)?;
    let mut collector = Collector::new(since, Collector::ROOM);
    let mut whole = HEADER;
    for batch in 1.. {
        let Some((content, next)) = next_batch(&mut rest, &sum) else {
            break;
        };
        let taken = gain(content).and_then(|gain| collector.regain(&gain));
        taken.map_err(|contradiction| JournalFlaw::Batch { batch, contradiction })?;
        sum = next;
        whole = bytes.len() - rest.0.len();
    }
    Ok(Read {
        collector,
        sum,
        whole: whole as u64,
    })
}

/// The content of a batch and its sum; none where what follows is no whole one.
fn next_batch<'a>(rest: &mut Bytes<'a>, sum: &Sum) -> Option<(&'a [u8], Sum)> {
    let all = rest.0;
    let length = usize::try_from(rest.u32()?)
        .ok()
        .filter(|length| *length <= MAX_CONTENT)?;
    let content = rest.take(length)?;
    let said = rest.array::<32>()?;
    (chain(sum, &all[..4 + length]) == said).then_some((content, said))
}

fn gain(content: &[u8]) -> Result<Gain, Contradiction> {
    let mut rest = Bytes(content);
    let read = (|| {
        let mut gain = Gain {
            seen: rest.u64()?,
            left_out: rest.u64()?,
            drawn: rest.u64()?,
            random: rest.u64()?,
            ..Gain::default()
        };
        let (accused, kept) = (rest.u32()? as usize, rest.u32()? as usize);
        // The length is bounded, and what is announced must fill it: nothing is reserved on the file's word.
        let length = accused.checked_mul(ACCUSED)?.checked_add(kept.checked_mul(KEPT)?)?;
        if length != rest.0.len() {
            return None;
        }
        for _ in 0..accused {
            gain.accused.push(Addr(rest.array()?));
        }
        for _ in 0..kept {
            let place = rest.u32()?;
            let (number, source) = (rest.u64()?, Addr(rest.array()?));
            let mut vector = Vector([0.0; WIDTH]);
            for value in &mut vector.0 {
                *value = f64::from_le_bytes(rest.array()?);
            }
            gain.kept.push((place, Kept { number, source, vector }));
        }
        Some(gain)
    })();
    read.ok_or(Contradiction)
}

fn chain(sum: &Sum, bytes: &[u8]) -> Sum {
    Sha256::new().chain_update(sum).chain_update(bytes).finalize().into()
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
