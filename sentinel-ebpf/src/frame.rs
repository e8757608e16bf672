//! The only unsafe read of packet memory: aligned 16-bit words between `data` and `data_end`.
//!
//! Byte-wise reads would cost the parser twice as much, and the offsets the parser asks for are always even
//! (see [`PacketView`]), so every read here is made of 16-bit words.

use sentinel_common::packet::{PacketMeta, PacketView, ParseError, parse_ethernet_into};

/// Highest offset read. The verifier needs a bound on variable offsets; no header chain the parser follows
/// to its end within real frames starts beyond it.
const MAX_OFFSET: usize = 0x3fff;

/// The linear part of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    data: usize,
    end: usize,
}

impl Frame {
    /// A view of the bytes between the two context pointers.
    #[inline(always)]
    pub(crate) const fn new(data: usize, end: usize) -> Self {
        Self { data, end }
    }

    /// Length of the linear part, bytes.
    #[inline(always)]
    pub(crate) const fn len(self) -> u64 {
        (self.end - self.data) as u64
    }

    /// The place of `N` 16-bit words, to be written; as they stand in memory.
    #[inline(always)]
    pub(crate) fn at<const N: usize>(self, offset: usize) -> Option<*mut [u16; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.data + offset;
        if start + 2 * N > self.end {
            return None;
        }
        Some(start as *mut [u16; N])
    }

    /// `N` 16-bit words as they stand in memory.
    #[inline(always)]
    fn raw<const N: usize>(&self, offset: usize) -> Option<[u16; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.data + offset;
        if start + 2 * N > self.end {
            return None;
        }
        // SAFETY: `start .. start + 2 * N` lies between `data` and `data_end`, which the kernel keeps valid
        // while the program runs; offsets are even and the kernel aligns frames to at least two bytes.
        Some(unsafe { *(start as *const [u16; N]) })
    }
}

/// Parses a frame into `meta`, and settles the outcome in memory.
///
/// Without that the optimiser carries header fields in registers across the whole program, and where it can tell that
/// a field will not be used it leaves a packet pointer in its place, which the verifier cannot tell and refuses.
#[inline(always)]
pub(crate) fn parse(frame: Frame, meta: &mut PacketMeta) -> Result<(), ParseError> {
    let outcome = parse_ethernet_into(&frame, core::hint::black_box(meta));
    core::hint::black_box(meta);
    outcome
}

impl PacketView for Frame {
    #[inline(always)]
    fn u8(&self, offset: usize) -> Option<u8> {
        let [first, second] = self.raw::<1>(offset & !1)?[0].to_ne_bytes();
        Some(if offset & 1 == 0 { first } else { second })
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u16; N]> {
        self.raw::<N>(offset).map(|words| words.map(u16::from_be))
    }

    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        self.raw::<1>(offset).map(|[word]| u16::from_be(word))
    }

    #[inline(always)]
    fn u32(&self, offset: usize) -> Option<u32> {
        self.raw::<2>(offset)
            .map(|[high, low]| u32::from(u16::from_be(high)) << 16 | u32::from(u16::from_be(low)))
    }

    #[inline(always)]
    fn octets4(&self, offset: usize) -> Option<[u8; 4]> {
        let words = self.raw::<2>(offset)?;
        // SAFETY: two u16 are four bytes, and any bytes are valid.
        Some(unsafe { core::mem::transmute::<[u16; 2], [u8; 4]>(words) })
    }

    #[inline(always)]
    fn octets16(&self, offset: usize) -> Option<[u8; 16]> {
        let words = self.raw::<8>(offset)?;
        // SAFETY: eight u16 are sixteen bytes, and any bytes are valid.
        Some(unsafe { core::mem::transmute::<[u16; 8], [u8; 16]>(words) })
    }
}
