//! From ring bytes to records. Everything is checked; nothing panics.

use sentinel_common::event::{
    FlowRecord, Header, KIND_FLOW, KIND_REFLEX, KIND_RETURN, KIND_SYN_FLOOD, ReflexRecord, ReturnRecord,
    SynFloodRecord, VERSION,
};

/// One record of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A summary of a flow.
    Flow(FlowRecord),
    /// A source crossed a threshold.
    Reflex(ReflexRecord),
    /// A source on probation returned.
    Return(ReturnRecord),
    /// A port came under a SYN flood, or out of it.
    SynFlood(SynFloodRecord),
}

/// Why a record was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header, or than the header announces. The rest of the batch is lost.
    #[error("a record of {len} bytes is cut short at {have}")]
    Short {
        /// What it should be, bytes.
        len: usize,
        /// What is there, bytes.
        have: usize,
    },
    /// The kernel programs are of another version.
    #[error("record version {0} is not {VERSION}")]
    Version(u16),
    /// Nothing known.
    #[error("unknown record kind {0}")]
    Kind(u16),
    /// A known kind with a length it cannot have.
    #[error("a record of kind {kind} cannot have {len} bytes")]
    Length {
        /// Its kind.
        kind: u16,
        /// Its length, bytes.
        len: u32,
    },
}

impl DecodeError {
    /// The name used in metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Short { .. } => "short",
            Self::Version(_) => "version",
            Self::Kind(_) => "kind",
            Self::Length { .. } => "length",
        }
    }
}

/// Decodes records back to back, as [`RingReader`](super::RingReader) hands them on. A record that is rejected is
/// skipped by the length it announces; where that cannot be, the batch ends.
pub fn decode(batch: &[u8]) -> impl Iterator<Item = Result<Record, DecodeError>> + '_ {
    let mut rest = batch;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(header) = read::<Header>(rest) else {
            let have = rest.len();
            rest = &[];
            return Some(Err(DecodeError::Short {
                len: size_of::<Header>(),
                have,
            }));
        };
        let len = header.len as usize;
        if len < size_of::<Header>() || len > rest.len() {
            let have = rest.len();
            rest = &[];
            return Some(Err(DecodeError::Short { len, have }));
        }
        let (record, tail) = rest.split_at(len);
        rest = tail;
        Some(one(header, record))
    })
}

/// Whether a raw record is what the kernel noticed, and no summary of a flow.
pub(super) fn is_notice(record: &[u8]) -> bool {
    read::<Header>(record).is_some_and(|header| header.kind != KIND_FLOW)
}

fn one(header: Header, bytes: &[u8]) -> Result<Record, DecodeError> {
    if header.version != VERSION {
        return Err(DecodeError::Version(header.version));
    }
    match header.kind {
        KIND_FLOW => typed(header, bytes).map(Record::Flow),
        KIND_REFLEX => typed(header, bytes).map(Record::Reflex),
        KIND_RETURN => typed(header, bytes).map(Record::Return),
        KIND_SYN_FLOOD => typed(header, bytes).map(Record::SynFlood),
        kind => Err(DecodeError::Kind(kind)),
    }
}

/// The record as its kind says, if its length is that kind's.
fn typed<T: aya::Pod>(header: Header, bytes: &[u8]) -> Result<T, DecodeError> {
    let wrong = DecodeError::Length {
        kind: header.kind,
        len: header.len,
    };
    if bytes.len() == size_of::<T>() {
        read(bytes).ok_or(wrong)
    } else {
        Err(wrong)
    }
}

/// The first bytes as a plain-data value.
fn read<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    (bytes.len() >= size_of::<T>()).then(|| {
        // SAFETY: there are enough bytes, the read is unaligned, and any bytes are a value of plain data.
        unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
    })
}

/// The bytes of a record, as they stand in the ring.
#[cfg(test)]
pub(super) fn bytes<T: aya::Pod>(record: &T) -> Vec<u8> {
    // SAFETY: plain data without padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast::<u8>(), size_of::<T>()) }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sentinel_common::flow::{CAUSE_FIRST, Direction, FlowKey, Half};

    fn record() -> FlowRecord {
        let key = FlowKey {
            remote_port: 7,
            proto: 6,
            ..FlowKey::default()
        };
        FlowRecord::new(key, Direction::Ingress, Half::default(), CAUSE_FIRST, 42)
    }

    #[test]
    fn records_back_to_back() {
        let mut batch = bytes(&record());
        batch.extend(bytes(&record()));
        let all: Vec<_> = decode(&batch).collect();
        assert_eq!(all, vec![Ok(Record::Flow(record())), Ok(Record::Flow(record()))]);
    }

    #[test]
    fn a_strange_record_does_not_hide_the_next() {
        let mut strange = record();
        strange.header.kind = 9;
        let mut old = record();
        old.header.version = 77;
        let batch = [bytes(&strange), bytes(&old), bytes(&record())].concat();
        let all: Vec<_> = decode(&batch).collect();
        assert_eq!(
            all,
            vec![
                Err(DecodeError::Kind(9)),
                Err(DecodeError::Version(77)),
                Ok(Record::Flow(record()))
            ]
        );
    }

    #[test]
    fn every_truncation_is_an_error_and_ends() {
        let whole = bytes(&record());
        for len in 1..whole.len() {
            let all: Vec<_> = decode(&whole[..len]).collect();
            assert_eq!(all.len(), 1, "{len}");
            assert!(matches!(all[0], Err(DecodeError::Short { .. })), "{len}");
        }
    }

    #[test]
    fn a_length_that_lies_cannot_loop_or_panic() {
        for len in [0u32, 7, 8, 191, 193, 4000, u32::MAX] {
            let mut liar = record();
            liar.header.len = len;
            let batch = bytes(&liar);
            assert!(decode(&batch).next().is_some_and(|first| first.is_err()), "{len}");
            assert!(decode(&batch).count() <= batch.len() / size_of::<Header>(), "{len}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes(batch in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
            let records = decode(&batch).count();
            proptest::prop_assert!(records <= batch.len() / size_of::<Header>() + 1);
        }
    }
}
