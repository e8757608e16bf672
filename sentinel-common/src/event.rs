//! Records of the event ring: a header, then one struct per kind. The decoder rejects what it does not know.

use crate::flow::{FlowKey, FlowValue};

/// Version of every record layout in this file; raised with any change.
pub const VERSION: u16 = 1;

/// Kind of a [`FlowRecord`].
pub const KIND_FLOW: u16 = 1;

/// First 8 bytes of every record, native byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `KIND_*`.
    pub kind: u16,
    /// [`VERSION`].
    pub version: u16,
    /// Length of the whole record, header included, bytes.
    pub len: u32,
}

/// A summary of one flow, cumulative since its first packet: a lost record costs timeliness, never counts. 280 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowRecord {
    /// [`KIND_FLOW`].
    pub header: Header,
    /// When the record was made: `CLOCK_BOOTTIME`, ns.
    pub now_ns: u64,
    /// Which flow.
    pub key: FlowKey,
    /// Its counters.
    pub value: FlowValue,
    /// `CAUSE_*` of [`crate::flow`].
    pub cause: u32,
    /// Zero.
    pub pad: u32,
}

impl FlowRecord {
    /// A record of `value` as it stands.
    #[inline(always)]
    pub fn new(key: FlowKey, value: FlowValue, cause: u32, now_ns: u64) -> Self {
        let header = Header {
            kind: KIND_FLOW,
            version: VERSION,
            len: size_of::<Self>() as u32,
        };
        Self {
            header,
            now_ns,
            key,
            value,
            cause,
            pad: 0,
        }
    }
}

const _: () = assert!(size_of::<FlowRecord>() == 280);

crate::pod!(Header, FlowRecord);
