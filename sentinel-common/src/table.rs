//! What becomes of the flow table when a packet passes: find the slot or make room, count, report when it is time.
//!
//! Pure but for what [`Host`] does: the kernel programs run it on their map, replay and the tests on memory of their own.
//! A slot is reported whole and emptied; where a report finds no room the slot goes on counting, so that nothing is
//! lost but what is evicted unreported, and that is counted.

use crate::flow::{
    CAUSE_CLOSE, CAUSE_EVICTED, CAUSE_FIRST, CAUSE_PERIODIC, CAUSE_PROOF, Direction, INGRESS, PROTO_TCP, STATE_ALLOWED,
    STATE_REPORTED,
};
use crate::packet::{PacketMeta, TCP_ACK, TCP_SYN};
use crate::room::{crowded, gives_way, roomier};
use crate::slot::{Bucket, HEAD_BESIDE, Head, IDLE_UNITS, Slot, age, idle, units};
use crate::talk::{self, Words};

/// A count of packets that is not waited for to grow further.
const MANY: u32 = 1 << 31;
/// How long a record may be refused, in units: 19 hours, a quarter of what they have room for.
const LONG_UNITS: u32 = 1 << 30;
/// How often a flow's packets are counted per source.
pub const TELL: u32 = 32;
/// When a report that found no room is tried again, in units: about 17 ms.
const AGAIN_UNITS: u32 = 256;

/// What surrounds the table.
pub trait Host {
    /// The shared words of a conversation.
    type Words: Words;
    /// Those of the flow with this hash.
    fn words(&mut self, hash: u64) -> Option<Self::Words>;
    /// Whether the remote side is allowlisted, where the caller did not know.
    fn allowed(&mut self) -> bool;
    /// Puts a record of the slot in `way` out, for a reason of `CAUSE_*`; false where there is no room for it.
    fn report(&mut self, head: &Head, slot: &Slot, way: usize, cause: u32) -> bool;
    /// How many of the packets of this filling of a slot the agent fetched by itself ([`taken`]).
    fn taken(&mut self, way: usize) -> u64;
    /// A slot with this many unreported packets goes to another flow; `told` where they were reported first.
    fn evicted(&mut self, packets: u32, told: bool);
    /// The flow is in the other bucket of its two: what is asked from here on is about that one.
    fn moved(&mut self, _tag: u32) {}
    /// [`Slot::clear`], by whatever stores are fewest.
    fn clear(&mut self, slot: &mut Slot) {
        slot.clear();
    }
    /// The same number. In the kernel neither compiler nor verifier know what it is, lest one makes branches of sums and the
    /// other walks the rest once for each.
    fn hide(&self, word: u64) -> u64;
}

/// What the agent writes down when it fetched the counts of a slot, so that they are not evicted as unreported.
#[inline(always)]
pub const fn taken(head: &Head) -> u64 {
    (head.seq as u64) << 32 | head.packets as u64
}

/// One packet and the circumstances it is counted under.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The packet.
    pub packet: &'a PacketMeta,
    /// Its direction.
    pub direction: Direction,
    /// Its flow's [`crate::hash::hash`].
    pub hash: u64,
    /// `CLOCK_BOOTTIME`, ns.
    pub now_ns: u64,
    /// [`crate::settings::Settings::report_interval_ns`].
    pub interval_ns: u64,
    /// Interface index.
    pub ifindex: u32,
    /// Whether the remote side is allowlisted, where that is known.
    pub allowed: Option<bool>,
    /// What becomes of [`Slot::clear`].
    pub clear: u32,
}

/// What accounting a packet taught, for whoever counts per source: on the steady path of a flow it is empty but for
/// every 32nd packet, so that counting costs next to nothing there.
///
/// `packets` and `bytes` are those the slot had since it last told of any, this packet included; over the life of a
/// flow they add up to all of it but the last 31 packets at most. A slot tells at its first packet, at every 32nd since
/// its last record, and whenever it is reported. Only ingress tells.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a packet, read by name"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// The packet was counted; where not, its flow found no slot.
    pub counted: bool,
    /// The packet began a flow, as far as this CPU knows.
    pub created: bool,
    /// It is a TCP SYN without ACK.
    pub syn: bool,
    /// It completed a handshake with the number only a receiver of our SYN or SYN-ACK can know.
    pub completed: bool,
    /// Packets to be counted now; mostly 0.
    pub packets: u32,
    /// Their L3 bytes.
    pub bytes: u32,
}

impl Pass<'_> {
    /// Counts the packet in the bucket its hash leads to, which `tag` comes from too ([`crate::hash::place`]); or in the one
    /// `beside` it ([`crate::hash::beside`]), where all flows of the first are in use, or were when this one came.
    #[inline(always)]
    pub fn count<'b, H: Host>(
        &self,
        bucket: &'b mut Bucket,
        tag: u32,
        beside: impl FnOnce() -> Option<&'b mut Bucket>,
        host: &mut H,
    ) -> Learned {
        let now = units(self.now_ns);
        let mut bucket = bucket;
        let mut way = bucket.find(tag);
        let mut known = self.is_in(bucket, way, tag);
        // Tags are unique: a flow that shares another's makes it go.
        if !known && bucket.heads[(way & 3) as usize].tag != tag {
            let least = bucket.least_missed(now, |word| host.hide(word));
            let crowded = crowded(least);
            way = host.hide(least) as u32;
            if crowded || bucket.heads[0].state & HEAD_BESIDE != 0 {
                let other = match beside() {
                    Some(other) => self.aside(other, least, tag, host),
                    None => None,
                };
                if let Some((other, place, lives)) = other {
                    bucket.heads[0].state |= HEAD_BESIDE;
                    host.moved(tag);
                    (bucket, way, known) = (
                        other,
                        host.hide(u64::from(place)) as u32,
                        host.hide(u64::from(lives)) != 0,
                    );
                } else if !gives_way(least) {
                    return self.refused();
                }
            }
        }
        let way = (way & 3) as usize;
        let (head, slot) = (&mut bucket.heads[way], &mut bucket.slots[way]);
        if !known {
            self.evict(head, slot, way, host);
            self.begin(head, slot, tag, host);
        }
        self.add(head, slot, way, !known, host)
    }

    /// Whether the packet's flow is in this place of a bucket.
    #[inline(always)]
    fn is_in(&self, bucket: &Bucket, way: u32, tag: u32) -> bool {
        let way = (way & 3) as usize;
        bucket.heads[way].tag == tag
            && bucket.slots[way].holds(self.packet, self.direction)
            && !idle(units(self.now_ns), bucket.heads[way].last)
    }

    /// Where in the other bucket the packet's flow is (true), or finds room that costs less than the flow `least` of its own.
    #[inline(always)]
    fn aside<'b, H: Host>(
        &self,
        bucket: &'b mut Bucket,
        least: u64,
        tag: u32,
        host: &mut H,
    ) -> Option<(&'b mut Bucket, u32, bool)> {
        let way = bucket.find(tag);
        if self.is_in(bucket, way, tag) {
            return Some((bucket, way, true));
        }
        let there = bucket.least_missed(units(self.now_ns), |word| host.hide(word));
        if !crowded(least) || !roomier(there, least) {
            return None;
        }
        let same = bucket.heads[(way & 3) as usize].tag == tag;
        let way = if same { way } else { host.hide(there) as u32 };
        Some((bucket, way, false))
    }

    /// What a packet teaches whose flow found no slot: its source is counted all the same.
    #[inline(always)]
    const fn refused(&self) -> Learned {
        let packet = self.packet;
        Learned {
            counted: false,
            created: true,
            syn: packet.proto == PROTO_TCP && packet.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN,
            completed: false,
            packets: if packet.segments > 1 { packet.segments } else { 1 },
            bytes: packet.l3_len,
        }
    }

    /// Counts the packet in its slot, which it began if `created`.
    #[inline(always)]
    pub fn add<H: Host>(&self, head: &mut Head, slot: &mut Slot, way: usize, created: bool, host: &mut H) -> Learned {
        let now = units(self.now_ns);
        let mut learned = Learned {
            counted: true,
            created,
            ..Learned::default()
        };
        if let Some(allowed) = self.allowed {
            let state = head.state & !(STATE_ALLOWED as u16) | if allowed { STATE_ALLOWED as u16 } else { 0 };
            if state != head.state {
                head.state = state;
            }
        }
        slot.clear = self.clear;
        let odd = slot.count(head, self.packet, self.now_ns);
        let mut cause = due(head, slot, now);
        if talk::concerns(head, slot, self.packet, self.direction, odd) {
            let words = || host.words(self.hash);
            let news = talk::step(
                head,
                slot,
                self.packet,
                self.direction,
                learned.created,
                self.hash,
                words,
            );
            let flags = self.packet.tcp_flags & (TCP_SYN | TCP_ACK);
            learned.syn = self.packet.proto == PROTO_TCP && flags == TCP_SYN;
            learned.completed = news.completed;
            if !created && slot.brims() {
                cause = CAUSE_PERIODIC;
            }
            if news.completed {
                cause = CAUSE_PROOF;
            }
            if cause != 0 && head.state & STATE_REPORTED as u16 == 0 {
                cause = CAUSE_FIRST;
            }
            if news.closes {
                cause = CAUSE_CLOSE;
            }
        }
        let turn = head.packets.is_multiple_of(TELL);
        if matches!(self.direction, Direction::Ingress) && (turn || learned.created || cause != 0) {
            learned.packets = u32::from((head.packets as u8).wrapping_sub(slot.told));
            learned.bytes = (slot.bytes as u32).wrapping_sub(slot.number);
            slot.told = head.packets as u8;
            slot.number = slot.bytes as u32;
        }
        if cause != 0 {
            self.report(head, slot, way, cause, host);
        }
        slot.note_plain(head);
        learned
    }

    /// Puts a record out and empties the slot, or sees to it that this is tried again.
    #[inline(always)]
    fn report<H: Host>(&self, head: &mut Head, slot: &mut Slot, way: usize, cause: u32, host: &mut H) {
        let now = units(self.now_ns);
        if host.report(head, slot, way, cause) {
            head.state |= STATE_REPORTED as u16;
            refill(head, slot);
            host.clear(slot);
            slot.due = now.wrapping_add(wait(self.interval_ns));
            return;
        }
        let wait = wait(self.interval_ns);
        let again = if wait < AGAIN_UNITS { wait } else { AGAIN_UNITS };
        slot.due = now.wrapping_add(again);
        if head.packets >= MANY || age(now, slot.first) >= LONG_UNITS {
            // Nothing has left for hours; before the count or the units overflow it is given up, aloud.
            host.evicted(head.packets, false);
            empty(head, slot);
        }
    }

    /// Gives a slot to the packet's flow; its first record is due at once.
    #[inline(always)]
    pub fn begin<H: Host>(&self, head: &mut Head, slot: &mut Slot, tag: u32, host: &mut H) {
        let allowed = match self.allowed {
            Some(allowed) => allowed,
            None => host.allowed(),
        };
        let now = units(self.now_ns);
        head.seq = head.seq.wrapping_add(1);
        head.packets = 0;
        head.last = now;
        head.state = head.state & HEAD_BESIDE | if allowed { STATE_ALLOWED as u16 } else { 0 };
        head.tag = tag;
        slot.begin(self.packet, self.direction, self.ifindex);
        host.clear(slot);
        slot.due = now;
    }

    /// Makes sure that nothing unreported stands in a slot.
    #[inline(always)]
    fn evict<H: Host>(&self, head: &Head, slot: &Slot, way: usize, host: &mut H) {
        if head.tag == 0 || head.packets == 0 {
            return;
        }
        // The agent fetches what was silent for an interval and more. What began half an interval ago at most, as all there
        // is in a flood, it has not: one more look into memory to be spared.
        let fetched = if units(self.now_ns).wrapping_sub(slot.first) < wait(self.interval_ns) >> 1 {
            0
        } else {
            host.taken(way)
        };
        if fetched == taken(head) {
            return;
        }
        let told = host.report(head, slot, way, CAUSE_EVICTED);
        let before = if fetched >> 32 == u64::from(head.seq) {
            fetched as u32
        } else {
            0
        };
        host.evicted(head.packets.wrapping_sub(before), told);
    }
}

/// Whether a record is due by time or by count.
#[inline(always)]
fn due(head: &mut Head, slot: &Slot, now: u32) -> u32 {
    let mut due = now.wrapping_sub(slot.due).cast_signed() >= 0;
    if head.last != now {
        head.last = now;
        due |= head.packets >= MANY;
    }
    match due {
        false => 0,
        true if head.state & STATE_REPORTED as u16 == 0 => CAUSE_FIRST,
        true => CAUSE_PERIODIC,
    }
}

/// How long a record is waited for, in units: no longer than a flow is remembered, so that nobody has to ask whether it
/// still is while no record is due.
#[inline(always)]
pub const fn wait(interval_ns: u64) -> u32 {
    let interval = units(interval_ns);
    if interval < IDLE_UNITS { interval } else { IDLE_UNITS }
}

/// Begins the next filling of a slot.
#[inline(always)]
pub fn empty(head: &mut Head, slot: &mut Slot) {
    refill(head, slot);
    slot.clear();
}

/// As [`empty`], but for what [`Slot::clear`] does.
#[inline(always)]
fn refill(head: &mut Head, slot: &mut Slot) {
    // First: the agent, which reads beside us, sees by it that the counts are no longer those it took.
    head.seq = head.seq.wrapping_add(1);
    head.packets = 0;
    if slot.direction() == INGRESS {
        slot.number = 0;
    }
}
