//! A model as bytes.
//!
//! Mark (8 bytes) · format (u32, little endian) · length of the payload (u64) · payload (postcard) · SHA-256 over all
//! that stands before it. The sum tells damage, not malice: who can write the file can write its sum, so everything
//! inside is checked too.

use super::earlier::First;
use super::error::{ArtefactError, Flaw};
use super::record::{Record, Schema};
use super::scorer::{Scorer, Variant};
use serde::Deserialize;
use sha2::{Digest, Sha256};

const MARK: &[u8; 8] = b"SNTLMODL";
/// Raised with every change to what stands in the payload.
pub(super) const FORMAT: u32 = 2;
/// The earliest that is read.
const EARLIEST: u32 = 1;
const HEAD: usize = MARK.len() + 4 + 8;
const SUM: usize = 32;
/// Larger files are not read.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A model, checked and ready.
#[derive(Clone, Debug)]
pub struct Model {
    record: Record,
    format: u32,
    sha256: [u8; 32],
    both: Scorer,
    ingress: Scorer,
}

impl Model {
    /// Checks a record and makes it a model.
    ///
    /// # Errors
    /// [`ArtefactError::Schema`] and [`ArtefactError::Unsound`].
    pub fn new(record: Record) -> Result<Self, ArtefactError> {
        let sha256 = Sha256::digest(&encode(&record)?).into();
        Self::checked(record, FORMAT, sha256)
    }

    /// Reads a model.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes; none of them panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArtefactError> {
        let (format, payload) = payload(bytes)?;
        let record = match format {
            EARLIEST => whole::<First>(payload)?.into(),
            _ => whole(payload)?,
        };
        Self::checked(record, format, Sha256::digest(bytes).into())
    }

    fn checked(record: Record, format: u32, sha256: [u8; 32]) -> Result<Self, ArtefactError> {
        let ours = Schema::ours();
        if record.schema != ours {
            return Err(ArtefactError::Schema {
                found: record.schema.version,
                ours: ours.version,
            });
        }
        let unsound = |variant: &'static str| move |flaw: Flaw| ArtefactError::Unsound { variant, flaw };
        record.description.check().map_err(unsound("description"))?;
        Ok(Self {
            both: Scorer::build(Variant::Both, &record.both).map_err(unsound("both directions"))?,
            ingress: Scorer::build(Variant::Ingress, &record.ingress).map_err(unsound("ingress only"))?,
            record,
            format,
            sha256,
        })
    }

    /// The model as bytes: the same for the same record.
    ///
    /// # Errors
    /// [`ArtefactError::Malformed`] if a part cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>, ArtefactError> {
        encode(&self.record)
    }

    /// What it holds.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Format of the bytes it was read from.
    pub const fn format(&self) -> u32 {
        self.format
    }

    /// SHA-256 over its bytes: its name.
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The variant for what a host sees.
    pub const fn scorer(&self, variant: Variant) -> &Scorer {
        match variant {
            Variant::Both => &self.both,
            Variant::Ingress => &self.ingress,
        }
    }
}

fn encode(record: &Record) -> Result<Vec<u8>, ArtefactError> {
    let payload = postcard::to_allocvec(record).map_err(|error| ArtefactError::Malformed(error.to_string()))?;
    let mut out = Vec::with_capacity(HEAD + payload.len() + SUM);
    out.extend_from_slice(MARK);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&payload);
    let sum = Sha256::digest(&out);
    out.extend_from_slice(&sum);
    if out.len() as u64 > MAX_BYTES {
        return Err(ArtefactError::TooLong { limit: MAX_BYTES });
    }
    Ok(out)
}

/// What a payload is, and nothing behind it.
fn whole<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, ArtefactError> {
    let (value, rest) =
        postcard::take_from_bytes(payload).map_err(|error| ArtefactError::Malformed(error.to_string()))?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(ArtefactError::Malformed("something stands behind it".into()))
    }
}

/// Format and payload of bytes that are whole.
fn payload(bytes: &[u8]) -> Result<(u32, &[u8]), ArtefactError> {
    let have = bytes.len() as u64;
    if have > MAX_BYTES {
        return Err(ArtefactError::TooLong { limit: MAX_BYTES });
    }
    let start = bytes.len().min(MARK.len());
    if bytes.is_empty() || bytes[..start] != MARK[..start] {
        return Err(ArtefactError::NotAModel);
    }
    let need = (HEAD + SUM) as u64;
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else {
        return Err(ArtefactError::Truncated { have, need });
    };
    let (mut format, mut length) = ([0; 4], [0; 8]);
    format.copy_from_slice(&head[8..12]);
    length.copy_from_slice(&head[12..HEAD]);
    let found = u32::from_le_bytes(format);
    if !(EARLIEST..=FORMAT).contains(&found) {
        return Err(ArtefactError::Format { found, known: FORMAT });
    }
    let need = need.saturating_add(u64::from_le_bytes(length));
    if have < need {
        return Err(ArtefactError::Truncated { have, need });
    }
    if have > need {
        return Err(ArtefactError::TooLong { limit: MAX_BYTES });
    }
    let (payload, sum) = rest.split_at(rest.len() - SUM);
    if Sha256::digest(&bytes[..bytes.len() - SUM])[..] != *sum {
        return Err(ArtefactError::Digest);
    }
    Ok((found, payload))
}
