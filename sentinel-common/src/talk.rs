//! What the CPUs tell each other of a conversation: who opened it, and whether the far side proved that it receives.
//!
//! The directions of a flow, and at times the packets of one direction, are seen by different CPUs, each with a slot of
//! its own. What one must know of the other goes through a cell of words that all share. A word is written whole, by one
//! store, without asking who else writes: it carries a part of the flow's hash, so that a word of another flow, or one
//! that lost a race, reads as nothing known. So a proof may be lost, and is never invented.
//!
//! A cell is looked at when a slot begins, by a flow's first packets, at SYN and RST, and each 64 KiB a flow
//! acknowledges; never on the steady path.

use crate::flow::{
    Direction, PROTO_TCP, PROTO_UDP, STATE_ALLOWED, STATE_ANSWERED, STATE_CLOSED, STATE_HANDSHAKE,
    STATE_OPENED_BY_EGRESS, STATE_REPORTED,
};
use crate::packet::{PacketMeta, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use crate::slot::{HEAD_BESIDE, HEAD_BUSY, HEAD_FIN, HEAD_SETTLED, Head, Slot};

/// What is shared of a conversation. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// [`SENT`], [`ACKED`], [`CAME`]; the fourth is zero.
    pub words: [u64; 4],
}

/// Index of the word of what we sent: 28 bits of hash, 4 of flags, and the number that completes the handshake.
const SENT: usize = 0;
/// Index of the word of our acknowledgements: likewise, with the latest number published.
const ACKED: usize = 1;
/// Index of the word of what came: 56 bits of hash and 8 of flags. What is proven hangs on it, so it has more of the hash.
const CAME: usize = 2;

/// Flag of [`SENT`] and [`CAME`]: this side was first.
const OPENED: u64 = 1;
/// Flag of [`SENT`]: the number is what the far side must acknowledge.
const EXPECTS: u64 = 2;
/// Flag of [`SENT`]: UDP went out.
const SPOKE: u64 = 4;
/// Flag of [`CAME`]: the far side proved that it receives.
const PROVEN: u64 = 2;

/// How far ahead of our acknowledgement a reset of an established connection may be, for what is on its way: bytes.
pub const RESET_WINDOW: u32 = 1 << 20;
/// How far our acknowledgement moves until it is published again, bytes.
pub const PUBLISH_STEP: u32 = 1 << 16;
/// Packets after which a slot asks no more, be it proven or not.
const TRIES: u32 = 16;

/// Reads and writes the words of one cell, each in one piece.
pub trait Words {
    /// A word of the cell.
    fn get(&self, index: usize) -> u64;
    /// Writes a word.
    fn set(&self, index: usize, word: u64);
}

impl<W: Words> Words for &W {
    fn get(&self, index: usize) -> u64 {
        (**self).get(index)
    }

    fn set(&self, index: usize, word: u64) {
        (**self).set(index, word);
    }
}

/// A cell of nobody else's.
impl Words for core::cell::Cell<Cell> {
    fn get(&self, index: usize) -> u64 {
        self.get().words[index]
    }

    fn set(&self, index: usize, word: u64) {
        let mut cell = self.get();
        cell.words[index] = word;
        self.set(cell);
    }
}

/// A cell in the words of one flow: what carries another hash reads as zero.
struct View<'a, W> {
    words: &'a W,
    /// The hash's part in [`SENT`] and [`ACKED`].
    short: u64,
    /// The hash's part in [`CAME`].
    long: u64,
}

impl<'a, W: Words> View<'a, W> {
    #[inline(always)]
    fn new(words: &'a W, hash: u64) -> Self {
        // Bits the cell was not chosen by come first; a word of zeroes is nobody's.
        let mixed = (hash ^ hash >> 29).wrapping_mul(0xff51_afd7_ed55_8ccd) | 1 << 63;
        Self {
            words,
            short: mixed & !0 << 36,
            long: mixed & !0 << 8,
        }
    }

    /// Flags and number of [`SENT`] or [`ACKED`].
    #[inline(always)]
    fn numbered(&self, index: usize) -> Option<(u64, u32)> {
        let word = self.words.get(index);
        (word & !0 << 36 == self.short).then_some((word >> 32 & 15, word as u32))
    }

    #[inline(always)]
    fn number(&self, index: usize, flags: u64, number: u32) {
        self.words.set(index, self.short | flags << 32 | u64::from(number));
    }

    /// Flags of [`CAME`].
    #[inline(always)]
    fn came(&self) -> Option<u64> {
        let word = self.words.get(CAME);
        (word & !0 << 8 == self.long).then_some(word & 0xff)
    }

    #[inline(always)]
    fn note_came(&self, flags: u64) {
        self.words.set(CAME, self.long | flags);
    }
}

/// What a packet changed about a slot's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// It completed the handshake.
    pub completed: bool,
    /// It closes: the first FIN of this direction, or a reset that our side would believe.
    pub closes: bool,
}

/// Whether a packet of this slot has to do with the conversation; mostly it has not.
#[inline(always)]
pub fn concerns(head: &Head, slot: &Slot, packet: &PacketMeta, direction: Direction, odd: bool) -> bool {
    let settled = HEAD_SETTLED | HEAD_BUSY;
    if odd || head.state & settled != settled {
        return true;
    }
    matches!(direction, Direction::Egress)
        && packet.proto == PROTO_TCP
        && head.state & STATE_HANDSHAKE as u16 != 0
        && moved(slot.number, packet.tcp_ack)
}

/// Whether an acknowledgement went on far enough to be told.
#[inline(always)]
const fn moved(published: u32, ack: u32) -> bool {
    let ahead = ack.wrapping_sub(published);
    ahead >= PUBLISH_STEP && ahead < 1 << 31
}

/// Takes a packet into the state of its slot and the words of its conversation; `fresh` where the slot begins with it.
/// `cell` is asked for only where the conversation has a say.
#[inline(always)]
pub fn step<W: Words>(
    head: &mut Head,
    slot: &mut Slot,
    packet: &PacketMeta,
    direction: Direction,
    fresh: bool,
    hash: u64,
    cell: impl FnOnce() -> Option<W>,
) -> News {
    let tcp = packet.proto == PROTO_TCP && !packet.later_fragment;
    let mut flags = if tcp { packet.tcp_flags } else { 0 };
    let mut news = News::default();
    let mut state = u32::from(head.state);
    if !fresh {
        state |= u32::from(HEAD_BUSY);
    }
    if flags & TCP_SYN != 0 {
        let ended = state & (STATE_CLOSED | u32::from(HEAD_FIN)) != 0;
        if state & STATE_HANDSHAKE != 0 && !ended {
            // Our own stack does not begin anew for a SYN on a live connection (RFC 5961, 4).
            flags = 0;
        } else {
            if ended && state & (STATE_HANDSHAKE | u32::from(HEAD_FIN)) != 0 {
                // A new connection on the ports of one that ended proves itself.
                state &= STATE_ALLOWED | STATE_REPORTED | u32::from(HEAD_BUSY | HEAD_BESIDE);
            }
            state &= !u32::from(HEAD_SETTLED);
        }
    }
    if flags & TCP_FIN != 0 && state & u32::from(HEAD_FIN) == 0 {
        state |= u32::from(HEAD_FIN);
        news.closes = true;
    }
    let resets = flags & TCP_RST != 0 && state & STATE_CLOSED == 0;
    let mut believed = resets;
    let publishes = matches!(direction, Direction::Egress)
        && state & STATE_HANDSHAKE != 0
        && flags & (TCP_SYN | TCP_ACK) == TCP_ACK
        && moved(slot.number, packet.tcp_ack);
    if (fresh || resets || publishes || state & u32::from(HEAD_SETTLED) == 0)
        && let Some(cell) = cell()
    {
        let view = View::new(&cell, hash);
        let before = state;
        match direction {
            Direction::Ingress => state = came(&view, state, packet, flags, fresh),
            Direction::Egress => state = sent(&view, slot, state, packet, flags, fresh, publishes),
        }
        news.completed = matches!(direction, Direction::Ingress)
            && state & !before & STATE_HANDSHAKE != 0
            && flags & TCP_ACK != 0
            && view.numbered(SENT).is_some_and(|(_, number)| number == packet.tcp_ack);
        // Our own stack ignores a reset from nowhere near where the remote side is (RFC 5961, 3): it is forged.
        if resets
            && matches!(direction, Direction::Ingress)
            && state & STATE_HANDSHAKE != 0
            && let Some((_, acked)) = view.numbered(ACKED)
        {
            believed = packet.tcp_seq.wrapping_sub(acked) <= RESET_WINDOW + PUBLISH_STEP;
        }
    }
    if believed {
        state |= STATE_CLOSED;
        news.closes = true;
    }
    let known = if tcp {
        state & STATE_HANDSHAKE != 0
    } else {
        packet.proto != PROTO_UDP || state & STATE_ANSWERED != 0
    };
    if known || head.packets >= TRIES {
        state |= u32::from(HEAD_SETTLED);
    }
    head.state = state as u16;
    news
}

/// A packet from the far side.
#[inline(always)]
fn came<W: Words>(view: &View<'_, W>, state: u32, packet: &PacketMeta, flags: u8, fresh: bool) -> u32 {
    let mut state = state;
    let sent = view.numbered(SENT);
    let mut known = view.came();
    if flags & (TCP_SYN | TCP_ACK) == TCP_SYN {
        // Whatever these ports were used for before, the far side opens now.
        view.note_came(OPENED);
        return state & !(STATE_OPENED_BY_EGRESS | STATE_HANDSHAKE);
    }
    if fresh {
        match sent {
            Some((flags, _)) if flags & OPENED != 0 => state |= STATE_OPENED_BY_EGRESS,
            _ if known.is_none() => {
                view.note_came(OPENED);
                known = Some(OPENED);
            }
            _ => {}
        }
    }
    let known = known.unwrap_or(0);
    if packet.proto == PROTO_UDP {
        if sent.is_some_and(|(flags, _)| flags & SPOKE != 0) {
            state |= STATE_ANSWERED;
        }
        return state;
    }
    if known & PROVEN != 0 {
        state |= STATE_HANDSHAKE;
    } else if flags & (TCP_ACK | TCP_RST) == TCP_ACK
        && state & STATE_HANDSHAKE == 0
        && let Some((flags, number)) = sent
        && flags & EXPECTS != 0
        && number == packet.tcp_ack
    {
        view.note_came(known | PROVEN);
        state |= STATE_HANDSHAKE;
    }
    state
}

/// Writes down what a SYN, our SYN-ACK and this acknowledgement would have left, where the SYN was answered outside the
/// conversation and the acknowledgement brings the answer's number back: a SYN cookie that the stack has found valid.
/// That is the proof; the caller must have it. To be called before the packet is taken into its slot.
#[inline(always)]
pub fn vouch<W: Words>(words: &W, packet: &PacketMeta, hash: u64) {
    let view = View::new(words, hash);
    view.number(SENT, EXPECTS, packet.tcp_ack);
    view.number(ACKED, 1, packet.tcp_seq);
    view.note_came(OPENED | PROVEN);
}

/// A packet of our side.
#[inline(always)]
fn sent<W: Words>(
    view: &View<'_, W>,
    slot: &mut Slot,
    state: u32,
    packet: &PacketMeta,
    flags: u8,
    fresh: bool,
    publishes: bool,
) -> u32 {
    let mut state = state;
    if flags & TCP_SYN != 0 {
        let expected = packet.tcp_seq.wrapping_add(1);
        if flags & TCP_ACK != 0 {
            view.number(SENT, EXPECTS, expected);
            view.number(ACKED, 1, packet.tcp_ack);
            slot.number = packet.tcp_ack;
        } else {
            view.number(SENT, EXPECTS | OPENED, expected);
            view.note_came(0);
            state |= STATE_OPENED_BY_EGRESS;
        }
        return state & !STATE_HANDSHAKE;
    }
    let known = view.came().unwrap_or(0);
    let (said, number) = view.numbered(SENT).unwrap_or((0, 0));
    let mut says = said;
    if fresh && known & OPENED == 0 {
        says |= OPENED;
        state |= STATE_OPENED_BY_EGRESS;
    }
    if packet.proto == PROTO_UDP {
        says |= SPOKE;
        // Nothing more is to be told.
        state |= u32::from(HEAD_SETTLED);
    }
    if says != said {
        view.number(SENT, says, number);
    }
    if known & PROVEN != 0 && packet.proto == PROTO_TCP {
        let first = state & STATE_HANDSHAKE == 0;
        state |= STATE_HANDSHAKE;
        if (first || publishes) && flags & TCP_ACK != 0 {
            view.number(ACKED, 1, packet.tcp_ack);
            slot.number = packet.tcp_ack;
        }
    } else if publishes {
        // The proof is the slot's own knowledge by now; another flow has the word.
        view.number(ACKED, 1, packet.tcp_ack);
        slot.number = packet.tcp_ack;
    }
    state
}

const _: () = assert!(size_of::<Cell>() == 32);

crate::pod!(Cell);
