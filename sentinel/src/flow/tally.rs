//! What a flow table keeps of one direction.

use sentinel_common::flow::Half;

/// Counters of one direction, cumulative or of a stretch of time. L3 bytes, as in [`Half`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// L3 bytes.
    pub bytes: u64,
    /// L4 payload bytes.
    pub payload: u64,
    /// TCP segments with SYN and without ACK.
    pub syn: u32,
    /// TCP segments with SYN and ACK.
    pub synack: u32,
    /// TCP segments with FIN.
    pub fin: u32,
    /// TCP segments with RST.
    pub rst: u32,
    /// TCP segments with ACK.
    pub ack: u32,
    /// NULL probes.
    pub null: u32,
    /// XMAS probes.
    pub xmas: u32,
    /// FIN probes.
    pub bare_fin: u32,
}

impl From<&Half> for Tally {
    fn from(half: &Half) -> Self {
        Self {
            packets: half.packets,
            bytes: half.bytes,
            payload: half.payload_bytes,
            syn: half.syn,
            synack: half.synack,
            fin: half.fin,
            rst: half.rst,
            ack: half.ack,
            null: half.null,
            xmas: half.xmas,
            bare_fin: half.bare_fin,
        }
    }
}

impl Tally {
    /// What came since `before`; never negative.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
            payload: self.payload.saturating_sub(before.payload),
            syn: self.syn.saturating_sub(before.syn),
            synack: self.synack.saturating_sub(before.synack),
            fin: self.fin.saturating_sub(before.fin),
            rst: self.rst.saturating_sub(before.rst),
            ack: self.ack.saturating_sub(before.ack),
            null: self.null.saturating_sub(before.null),
            xmas: self.xmas.saturating_sub(before.xmas),
            bare_fin: self.bare_fin.saturating_sub(before.bare_fin),
        }
    }

    /// Packets that no TCP stack sends: FIN, NULL and XMAS probes.
    pub fn stealth(&self) -> u64 {
        u64::from(self.null) + u64::from(self.xmas) + u64::from(self.bare_fin)
    }
}
