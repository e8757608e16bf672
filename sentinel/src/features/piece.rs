//! What is kept of a flow, from one piece of it to the next.

use super::windows::ServiceKey;
use sentinel_common::addr::Addr;
use sentinel_common::flow::{Half, PROTO_TCP};

/// Time in steps of 10 ms: the kernel stamps packets by the jiffy (1, 4 or 10 ms), a capture by the microsecond.
pub(super) type Steps = u64;
/// Length of a step, ns.
pub(super) const STEP_NS: u64 = 10_000_000;
/// Steps in a second.
pub(super) const SECOND: Steps = 100;
/// Quiet time that ends a flow.
pub(super) const IDLE: Steps = 15 * SECOND;
/// A flow that goes on for longer is told of in pieces.
pub(super) const ACTIVE: Steps = 60 * SECOND;
/// Time after the end of a TCP connection for its last segments.
pub(super) const LINGER: Steps = SECOND;
/// How long after its beginning a flow is told of while it goes on. At the first it is judged, too: who has not
/// answered by then did not answer.
pub(super) const MARKS: [Steps; 3] = [3 * SECOND, 10 * SECOND, 30 * SECOND];
/// Where a flow goes on after a piece of 60 s, only this mark is left.
pub(super) const LAST_MARK: u8 = 2;
/// Packets each way after the end of a connection that are nothing but its echo.
const ECHO: u64 = 2;

/// A piece of a flow.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a piece, read by name"
)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) id: u32,
    pub(super) source: Addr,
    pub(super) source_port: u16,
    pub(super) service: ServiceKey,
    pub(super) forward: Half,
    pub(super) reverse: Half,
    /// When it began.
    pub(super) start: Steps,
    /// Its latest packet.
    pub(super) last: Steps,
    /// When the connection had been closed long enough; `Steps::MAX` while it is not.
    pub(super) closes: Steps,
    /// When it is looked at.
    pub(super) due: Steps,
    /// The next of [`MARKS`].
    pub(super) mark: u8,
    pub(super) from_inside: bool,
    pub(super) allowed: bool,
    pub(super) completed: bool,
    /// Something came since the last record.
    pub(super) news: bool,
    /// There was a record of the flow.
    pub(super) told: bool,
    /// Counts as a flow begun, and was not judged yet.
    pub(super) unjudged: bool,
    /// Began after the end of its connection.
    pub(super) echo: bool,
}

impl Piece {
    pub(super) fn next_due(&self) -> Steps {
        let mark = MARKS.get(usize::from(self.mark)).map_or(Steps::MAX, |m| self.start + m);
        let ends = (self.last + IDLE).min(self.start + ACTIVE);
        mark.min(ends).min(self.closes)
    }

    /// Whether there is nothing in it but what a closed connection leaves behind.
    pub(super) fn nothing_but_echo(&self) -> bool {
        let (forward, reverse) = (&self.forward, &self.reverse);
        let few = forward.packets <= ECHO && reverse.packets <= ECHO;
        self.echo && few && forward.payload_bytes.max(reverse.payload_bytes) == 0 && forward.syn == 0
    }

    /// Whether it came to nothing: no answer, or a reset in place of a SYN-ACK.
    pub(super) fn failed(&self) -> bool {
        let (forward, reverse) = (&self.forward, &self.reverse);
        let reset = self.service.2 == PROTO_TCP && forward.rst.max(reverse.rst) > 0;
        reverse.packets == 0 || reset && reverse.synack == 0 && !self.completed
    }
}

/// The step an instant lies in.
pub(super) const fn steps(ns: u64) -> Steps {
    ns / STEP_NS
}
