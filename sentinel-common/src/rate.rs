//! Rate limits: the generic cell rate algorithm (ITU-T I.371), a token bucket kept as one instant.
//!
//! That instant, the theoretical arrival time (TAT), is when the packets let through so far will have used up their
//! rate. A packet conforms while the TAT is ahead of the clock by no more than the burst; it then moves the TAT on by
//! what it costs. A refused packet costs nothing, so a source that goes on too fast still gets its rate.
//!
//! Where two CPUs meet at one bucket, both may find room for the last packet: more than the burst gets through by at
//! most a packet for each other CPU, once, because what each lets through is added to the TAT by an atomic addition
//! and paid for later. Only a TAT that has fallen behind the clock is set, not added to, and then what other CPUs
//! booked between this one's look and its store (some ns) is forgiven.

use crate::entry::BlockEntry;

/// Shortest burst there is, ns: the clock of the packet path steps by a jiffy, at most this long, and a shorter burst
/// would let through one burst a step where the rate allows more.
pub const BURST_MIN_NS: u64 = 10_000_000;

/// Buckets of one [`Set`].
pub const WAYS: usize = 4;

/// What packets and bytes cost, and how far ahead a source may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// ns a packet costs; 0 for no limit on packets.
    pub packet_ns: u32,
    /// ns a frame byte costs, in 1/256; 0 for no limit on bytes.
    pub byte_ns_q8: u32,
    /// Burst, ms; [`BURST_MIN_NS`] where that is longer.
    pub burst_ms: u32,
}

impl Rate {
    /// How far the TATs may be ahead of the clock, ns.
    #[inline(always)]
    pub const fn burst_ns(self) -> u64 {
        let asked = self.burst_ms as u64 * 1_000_000;
        if asked > BURST_MIN_NS { asked } else { BURST_MIN_NS }
    }

    /// Whether a packet may pass, by both limits, with these TATs (packets, bytes) at `now_ns`.
    #[inline(always)]
    pub const fn conforms(self, packet_tat_ns: u64, byte_tat_ns: u64, now_ns: u64) -> bool {
        let latest = now_ns.saturating_add(self.burst_ns());
        (self.packet_ns == 0 || packet_tat_ns <= latest) && (self.byte_ns_q8 == 0 || byte_tat_ns <= latest)
    }

    /// What a frame of `bytes` costs, ns.
    #[inline(always)]
    pub const fn bytes_cost(self, bytes: u64) -> u64 {
        (self.byte_ns_q8 as u64).wrapping_mul(bytes) >> 8
    }

    /// The update rule on TATs (packets, bytes) that nobody else holds: whether a frame of `bytes` passes at `now_ns`,
    /// which moves them. The kernel does the same by atomic additions.
    pub fn admit(self, packet_tat_ns: &mut u64, byte_tat_ns: &mut u64, bytes: u64, now_ns: u64) -> bool {
        let conforms = self.conforms(*packet_tat_ns, *byte_tat_ns, now_ns);
        if conforms && self.packet_ns != 0 {
            *packet_tat_ns = (*packet_tat_ns).max(now_ns) + u64::from(self.packet_ns);
        }
        if conforms && self.byte_ns_q8 != 0 {
            *byte_tat_ns = (*byte_tat_ns).max(now_ns) + self.bytes_cost(bytes);
        }
        conforms
    }
}

impl BlockEntry {
    /// The entry's rate.
    #[inline(always)]
    pub const fn rate(&self) -> Rate {
        Rate {
            packet_ns: self.packet_ns,
            byte_ns_q8: self.byte_ns_q8,
            burst_ms: self.burst_ms,
        }
    }
}

/// The bucket of one address under a rate-limited prefix. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Whose: [`tag`]; 0 for nobody's.
    pub tag: u64,
    /// TAT by packets, `CLOCK_BOOTTIME`, ns.
    pub packet_tat_ns: u64,
    /// TAT by bytes.
    pub byte_tat_ns: u64,
    /// Zero.
    pub pad: u64,
}

impl Bucket {
    /// The instant from which on the bucket says no more than an empty one would.
    #[inline(always)]
    const fn clear_ns(&self) -> u64 {
        if self.packet_tat_ns > self.byte_tat_ns {
            self.packet_tat_ns
        } else {
            self.byte_tat_ns
        }
    }
}

/// Buckets an address may have: one element of the `LIMITS` array. 128 bytes.
///
/// A newcomer takes over the bucket that is clear first, with the TATs that stand in it. While that one is clear (as
/// nearly always) this is as good as a fresh one. Where more addresses press into a set than it has buckets, they
/// share them: an attacker who changes addresses faster than the table can tell them apart gets what its buckets
/// let through and no more, and honest addresses under the same prefix are limited with it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// The buckets.
    pub buckets: [Bucket; WAYS],
}

impl Set {
    /// The bucket of `tag`: its own, or else the one it would take over, and whether it is its own.
    #[inline(always)]
    pub const fn find(&self, tag: u64) -> (usize, bool) {
        let [a, b, c, d] = &self.buckets;
        if a.tag == tag {
            return (0, true);
        }
        if b.tag == tag {
            return (1, true);
        }
        if c.tag == tag {
            return (2, true);
        }
        if d.tag == tag {
            return (3, true);
        }
        let (low, low_at) = if b.clear_ns() < a.clear_ns() {
            (b.clear_ns(), 1)
        } else {
            (a.clear_ns(), 0)
        };
        let (high, high_at) = if d.clear_ns() < c.clear_ns() {
            (d.clear_ns(), 3)
        } else {
            (c.clear_ns(), 2)
        };
        (if high < low { high_at } else { low_at }, false)
    }

    /// [`Rate::admit`] for the address of `tag`: the kernel does the same by atomic additions.
    pub fn admit(&mut self, tag: u64, rate: Rate, bytes: u64, now_ns: u64) -> bool {
        let (at, _) = self.find(tag);
        let bucket = &mut self.buckets[at];
        let conforms = rate.admit(&mut bucket.packet_tat_ns, &mut bucket.byte_tat_ns, bytes, now_ns);
        if conforms {
            bucket.tag = tag;
        }
        conforms
    }
}

/// The tag of an address under a decision's prefix, never 0. Its low bits choose the [`Set`].
///
/// Keyed, so that nobody outside can choose addresses that share a set.
#[inline(always)]
pub fn tag(seed: u64, decision: &[u8; 16], address: &[u8; 16]) -> u64 {
    let (high, low) = halves(decision);
    let (net, host) = halves(address);
    // A decision's id is random, and not the far side's choice: one round is enough for it.
    let tag = mix(mix(mix(seed, high ^ low.rotate_left(32)), net), host);
    tag | u64::from(tag == 0)
}

/// 16 bytes as two words, in the machine's order.
#[inline(always)]
pub(crate) const fn halves(bytes: &[u8; 16]) -> (u64, u64) {
    let whole = u128::from_ne_bytes(*bytes);
    (whole as u64, (whole >> 64) as u64)
}

/// One round of a keyed hash. What the first shift spreads, the product mixes by way of carries that the key decides,
/// so that no difference between two words is sure to be undone by one between the next.
#[inline(always)]
pub(crate) const fn mix(key: u64, word: u64) -> u64 {
    let x = (key ^ word).wrapping_add(0xd6e8_feb8_6659_fd93);
    let product = (x ^ x >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 29
}

const _: () = {
    assert!(size_of::<Bucket>() == 32);
    assert!(size_of::<Set>() == 128);
};

crate::pod!(Bucket, Set);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Packets let through when one of `bytes` is offered every `every_ns`, from `from` up to `until`.
    fn passed(rate: Rate, tats: &mut (u64, u64), bytes: u64, every_ns: u64, from: u64, until: u64) -> u64 {
        (from..until)
            .step_by(every_ns as usize)
            .filter(|now| rate.admit(&mut tats.0, &mut tats.1, bytes, *now))
            .count() as u64
    }

    #[test]
    fn the_rate_holds_and_the_burst_comes_once() {
        let rate = Rate {
            packet_ns: 1_000_000,
            burst_ms: 20,
            byte_ns_q8: 0,
        };
        let mut tats = (0, 0);
        let start = 1_000 * MS;
        assert_eq!(
            passed(rate, &mut tats, 60, 10_000, start, start + 1_000 * MS),
            1_000 + 20
        );
        assert_eq!(
            passed(rate, &mut tats, 60, 10_000, start + 1_000 * MS, start + 2_000 * MS),
            1_000
        );
        // A quiet second gives the burst back, and no more.
        let later = start + 3_000 * MS;
        assert_eq!(passed(rate, &mut tats, 60, 10, later, later + 10_000), 21);
    }

    #[test]
    fn both_limits_must_agree_and_a_refused_packet_costs_nothing() {
        // 1000 packets and 100,000 bytes a second.
        let rate = Rate {
            packet_ns: 1_000_000,
            byte_ns_q8: 2_560_000,
            burst_ms: 10,
        };
        let start = 1_000 * MS;
        let mut tats = (0, 0);
        let second = start..start + 1_000 * MS;
        let large = passed(rate, &mut tats, 1_000, 10_000, second.start, second.end);
        assert_eq!(large, 100 + 1, "bytes decide");
        assert!(tats.0 < second.end, "what bytes refused cost no packets");
        let mut tats = (0, 0);
        assert_eq!(
            passed(rate, &mut tats, 60, 10_000, second.start, second.end),
            1_000 + 10
        );
    }

    #[test]
    fn a_clock_that_steps_by_a_jiffy_costs_no_rate() {
        let rate = Rate {
            packet_ns: 10_000,
            byte_ns_q8: 0,
            burst_ms: 0,
        };
        let mut tats = (0, 0);
        let mut passed = 0;
        for offered in 0..1_000_000u64 {
            let now = 5_000 * MS + offered * 1_000 / (10 * MS) * (10 * MS);
            passed += u64::from(rate.admit(&mut tats.0, &mut tats.1, 60, now));
        }
        assert_eq!(passed, 100_000 + 1);
    }

    #[test]
    fn a_set_of_buckets_never_lets_more_through_than_its_buckets() {
        let rate = Rate {
            packet_ns: 100_000_000,
            byte_ns_q8: 0,
            burst_ms: 100,
        };
        let mut set = Set::default();
        let start = 1_000 * MS;
        // Four addresses have their own.
        for address in 1..=4 {
            assert_eq!((0..9).filter(|_| set.admit(address, rate, 60, start)).count(), 2);
        }
        // A thousand more in the next ten seconds share them.
        let passed = (0..10_000u64)
            .filter(|n| set.admit(100 + n % 1_000, rate, 60, start + n * MS))
            .count();
        assert!((390..=400).contains(&passed), "{passed}");
        // Once all is quiet, an address is as free as on the first day.
        assert_eq!(
            (0..9).filter(|_| set.admit(7, rate, 60, start + 60_000 * MS)).count(),
            2
        );
    }

    #[test]
    fn tags_differ_by_everything_that_goes_in() {
        let mut seen = std::collections::HashSet::new();
        for seed in [0, 1, u64::MAX] {
            for bit in 0..128 {
                let mut address = [0; 16];
                address[bit / 8] = 1 << (bit % 8);
                assert!(seen.insert(tag(seed, &[0; 16], &address)));
                // The halves of an id are folded.
                if bit < 64 {
                    assert!(seen.insert(tag(seed, &address, &[0; 16])));
                }
            }
        }
        assert!(!seen.contains(&0));
    }
}
