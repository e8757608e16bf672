//! What a summary leaves out of a TCP segment, as far as lengths and order say it.
//!
//! A summary has no flags: only who sent how many bytes of TCP, header included, to whom. A TCP header is 20 to 60 bytes
//! (RFC 9293, 3.1), a SYN of a stack carries options, an RST none. What is not sure errs to the side that accuses nobody:
//! what could be header counts as header, and a flow whose beginning was not seen has no SYN.

use sentinel_common::packet::{TCP_ACK, TCP_PSH, TCP_RST, TCP_SYN};

/// The longest TCP header.
pub(super) const LONGEST: u32 = 60;
/// The shortest.
const BARE: u32 = 20;
/// A SYN at least so long offers timestamps (RFC 7323), and then all segments carry them, 12 bytes with padding; those of
/// Windows, which are shorter, do not.
const TIMESTAMPS: u32 = 36;
/// A SYN up to so long has no option but the segment size: made by hand, and its sender's own stack resets what is answered.
const HAND_MADE: u32 = 24;
/// Options that acknowledge selectively, of one to four blocks, with padding (RFC 2018).
const SACK: [u32; 4] = [12, 20, 28, 36];

/// Places in [`Talk::spoke`].
const AHEAD: usize = 0;
const BACK: usize = 1;

/// What is known of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Talk {
    /// L4 length of the first SYN; 0 where the beginning was not seen.
    syn: u8,
    /// L4 length of the answer to it; 0 before it came.
    synack: u8,
    /// Whoever opened it sent something after the answer.
    went_on: bool,
    /// Payload came from whoever sent first, and from the other.
    spoke: [bool; 2],
    begun: bool,
}

/// One segment, filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// TCP flags byte.
    pub(super) flags: u8,
    /// Payload at least, bytes.
    pub(super) payload: u32,
}

impl Talk {
    /// Takes in a segment of `len` bytes, header included. `ahead`: from whoever sent first. `fresh`: it may be the
    /// beginning of the connection, which what a server sends to a client is not.
    pub(super) fn segment(&mut self, len: u32, ahead: bool, fresh: bool) -> Segment {
        let header = |flags: u8| Segment { flags, payload: 0 };
        let first = !std::mem::replace(&mut self.begun, true);
        if first && ahead && fresh && (BARE..=LONGEST).contains(&len) {
            self.syn = len as u8;
            return header(TCP_SYN);
        }
        let syn = u32::from(self.syn);
        if syn == 0 {
            return self.data(len, LONGEST, ahead);
        }
        let synack = u32::from(self.synack);
        let base = if syn.min(synack) >= TIMESTAMPS { BARE + 12 } else { BARE };
        match (ahead, synack) {
            // Asked again, since nothing came back.
            (true, 0) if len == syn => header(TCP_SYN),
            (false, 0) if len == BARE => header(TCP_RST | TCP_ACK),
            (false, 0) if len <= LONGEST => {
                self.synack = len as u8;
                header(TCP_SYN | TCP_ACK)
            }
            // The same ports once more, by whoever makes SYNs by hand.
            (true, 1..) if len == syn && syn <= HAND_MADE => header(TCP_SYN),
            // Said again.
            (false, _) if len == synack && !self.spoke[BACK] => header(TCP_SYN | TCP_ACK),
            (true, 1..) if len < base || len == BARE && syn <= HAND_MADE && !self.went_on => header(TCP_RST),
            (false, 1..) if len < base => header(TCP_RST | TCP_ACK),
            (_, 0) => self.data(len, LONGEST, ahead),
            _ => self.data(len, base, ahead),
        }
    }

    /// A packet whose words were told and not its length: there was payload.
    pub(super) fn words(&mut self, ahead: bool) -> Segment {
        self.begun = true;
        self.data(LONGEST + 1, LONGEST, ahead)
    }

    /// Whether payload came from whoever sent first (`ahead`), or from the other. A stack sends it only after the number it
    /// chose was acknowledged: so the other end receives what is sent to its address.
    pub(super) const fn spoke(self, ahead: bool) -> bool {
        self.spoke[if ahead { AHEAD } else { BACK }]
    }

    fn data(&mut self, len: u32, base: u32, ahead: bool) -> Segment {
        self.went_on |= ahead;
        // What may be header, whatever options it has, is no payload until some was sent that cannot be: a SYN-ACK of another
        // length is among it, which anybody can have our side send in somebody else's name.
        let spoke = &mut self.spoke[if ahead { AHEAD } else { BACK }];
        *spoke |= len > LONGEST;
        let over = len.saturating_sub(base);
        let sack = len <= LONGEST && SACK.contains(&over);
        let payload = if *spoke && !sack { over } else { 0 };
        let push = if payload > 0 { TCP_PSH } else { 0 };
        Segment {
            flags: TCP_ACK | push,
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments as (length, from whoever sent first), and the flags that were found.
    fn heard(segments: &[(u32, bool)]) -> (Vec<u8>, Talk) {
        let mut talk = Talk::default();
        let flags = segments
            .iter()
            .map(|(len, ahead)| talk.segment(*len, *ahead, true).flags);
        (flags.collect(), talk)
    }

    const SYNACK: u8 = TCP_SYN | TCP_ACK;
    const DATA: u8 = TCP_ACK | TCP_PSH;

    #[test]
    fn a_conversation_of_linux_hosts_is_understood() {
        let talk = [
            (40, true),
            (40, false),
            (32, true),
            (110, true),
            (32, false),
            (900, false),
        ];
        let (flags, talk) = heard(&talk);
        assert_eq!(flags, [TCP_SYN, SYNACK, TCP_ACK, DATA, TCP_ACK, DATA]);
        assert!(talk.spoke(true) && talk.spoke(false));
    }

    #[test]
    fn one_of_windows_hosts_too() {
        let (flags, _) = heard(&[(32, true), (32, false), (20, true), (120, true), (20, false)]);
        assert_eq!(flags, [TCP_SYN, SYNACK, TCP_ACK, DATA, TCP_ACK]);
    }

    #[test]
    fn closed_and_half_open_doors_are_told_apart() {
        // nmap's SYN, and the RST of its host's own stack after the answer; then a stack's own SYN.
        assert_eq!(heard(&[(24, true), (20, false)]).0, [TCP_SYN, TCP_RST | TCP_ACK]);
        assert_eq!(
            heard(&[(24, true), (24, false), (20, true)]).0,
            [TCP_SYN, SYNACK, TCP_RST]
        );
        assert_eq!(heard(&[(40, true), (20, false)]).0, [TCP_SYN, TCP_RST | TCP_ACK]);
        // Nobody answers, and it is asked again.
        assert_eq!(heard(&[(40, true), (40, true)]).0, [TCP_SYN, TCP_SYN]);
    }

    #[test]
    fn who_forges_another_address_proves_nothing() {
        // SYN and ACK in somebody's name: the server repeats its answer, or resets.
        for after in 20..=60 {
            for (syn, answer) in [(40, 40), (24, 24), (36, 36), (32, 32)] {
                let forged = [
                    (syn, true),
                    (answer, false),
                    (32, true),
                    (after, false),
                    (after, false),
                    (200, true),
                ];
                assert!(!heard(&forged).1.spoke(false), "{syn} {after}");
                // Nor is there a conversation to accuse it of.
                let mut talk = Talk::default();
                let back = forged
                    .iter()
                    .map(|(len, ahead)| (talk.segment(*len, *ahead, true).payload, *ahead));
                assert_eq!(
                    back.filter(|(_, ahead)| !ahead)
                        .map(|(payload, _)| payload)
                        .sum::<u32>(),
                    0
                );
            }
        }
    }

    #[test]
    fn acknowledging_selectively_is_no_payload() {
        let (_, mut talk) = heard(&[(40, true), (40, false), (32, true)]);
        for len in [44, 52, 60] {
            assert_eq!(talk.segment(len, false, true).payload, 0, "{len}");
        }
        assert!(!talk.spoke(false));
        assert_eq!(talk.segment(68, false, true).payload, 36);
    }

    #[test]
    fn a_beginning_that_was_not_seen_is_not_made_up() {
        let mut talk = Talk::default();
        // What a server sends to a client.
        let segment = talk.segment(32, true, false);
        assert_eq!((segment.flags, segment.payload), (TCP_ACK, 0));
        assert_eq!(talk.segment(60, false, true).payload, 0, "it may all be header");
        assert_eq!(talk.segment(61, false, true).payload, 1);
        // A first segment that is longer than any header is no SYN.
        assert_eq!(heard(&[(1500, true)]).0, [DATA]);
    }

    proptest::proptest! {
        #[test]
        fn no_lengths_make_it_claim_more_than_was_sent(
            segments in proptest::collection::vec((0_u32..70_000, proptest::bool::ANY, proptest::bool::ANY), 0..40)
        ) {
            let mut talk = Talk::default();
            for (len, ahead, fresh) in segments {
                let segment = talk.segment(len, ahead, fresh);
                proptest::prop_assert!(segment.payload <= len.saturating_sub(BARE));
            }
        }
    }
}
