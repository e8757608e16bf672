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
    /// Adds what came since.
    pub fn absorb(&mut self, later: &Self) {
        self.packets += later.packets;
        self.bytes += later.bytes;
        self.payload += later.payload;
        self.syn = self.syn.saturating_add(later.syn);
        self.synack = self.synack.saturating_add(later.synack);
        self.fin = self.fin.saturating_add(later.fin);
        self.rst = self.rst.saturating_add(later.rst);
        self.ack = self.ack.saturating_add(later.ack);
        self.null = self.null.saturating_add(later.null);
        self.xmas = self.xmas.saturating_add(later.xmas);
        self.bare_fin = self.bare_fin.saturating_add(later.bare_fin);
    }

    /// Packets that no TCP stack sends: FIN, NULL and XMAS probes.
    pub fn stealth(&self) -> u64 {
        u64::from(self.null) + u64::from(self.xmas) + u64::from(self.bare_fin)
    }
}
