//! The only unsafe read of packet memory: 16-bit and 32-bit loads between `data` and `data_end`.
//!
//! Byte-wise reads would cost the parser twice as much. 32-bit words of headers lie at offsets that are aligned where the
//! machine insists (`NET_IP_ALIGN`); elsewhere (x86-64, arm64) they may lie two bytes off, which Rust's own reads would
//! not do, so the load is spelled out.

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
    pub(crate) fn place<const N: usize>(&self, offset: usize) -> Option<*mut [u16; N]> {
        Some(self.at(offset, 2 * N)? as *mut [u16; N])
    }

    /// Sixteen bytes as they stand.
    #[inline(always)]
    pub(crate) fn octets16(&self, offset: usize) -> Option<[u8; 16]> {
        let words = self.quads::<4>(offset)?;
        // SAFETY: four u32 are sixteen bytes, and any bytes are valid.
        Some(unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) })
    }

    /// `SPAN` bytes from `offset`, if the frame has them.
    #[inline(always)]
    pub(crate) fn window<const SPAN: usize>(self, offset: usize) -> Option<Window> {
        self.at(offset, SPAN).map(Window)
    }

    /// `SPAN` bytes from the beginning of another window, if the frame has them.
    #[inline(always)]
    pub(crate) fn wider<const SPAN: usize>(self, window: Window) -> Option<Window> {
        (window.0 + SPAN <= self.end).then_some(window)
    }

    /// `SPAN` bytes that begin `skip` bytes behind another window's beginning, if the frame has them.
    #[inline(always)]
    pub(crate) fn behind<const SPAN: usize>(self, window: Window, skip: u64) -> Option<Window> {
        let skip = skip as usize;
        if skip > MAX_OFFSET {
            return None;
        }
        let start = window.0 + bounded(skip);
        if start + SPAN > self.end {
            return None;
        }
        Some(Window(start))
    }

    /// Where `bytes` bytes from `offset` begin, if the frame has them.
    #[inline(always)]
    fn at(&self, offset: usize, bytes: usize) -> Option<usize> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.data + offset;
        if start + bytes > self.end {
            return None;
        }
        Some(start)
    }
}

/// The same offset, [`MAX_OFFSET`] at most: said anew, because the compiler may go on with a copy of what it compared, of
/// which the verifier then knows nothing.
#[inline(always)]
fn bounded(offset: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut offset = offset;
        // SAFETY: one instruction on one register.
        unsafe {
            core::arch::asm!("{0} &= {1}", inout(reg) offset, const MAX_OFFSET, options(pure, nomem, nostack));
        }
        offset
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        offset & MAX_OFFSET
    }
}

/// Bytes of a frame that are known to be there. Loads are at constant offsets, and the verifier holds them against what
/// was asked for; what lies beyond does not load.
///
/// What is loaded is as wide as registers are, and loaded anew by each call: cheaper than to keep it on the stack from one
/// to the next.
#[derive(Clone, Copy)]
pub(crate) struct Window(usize);

impl Window {
    /// The window from `offset` on.
    #[inline(always)]
    pub(crate) const fn skip(self, offset: usize) -> Self {
        Self(self.0 + offset)
    }

    /// One byte.
    #[inline(always)]
    pub(crate) fn byte<const OFFSET: usize>(self) -> u64 {
        #[cfg(target_arch = "bpf")]
        {
            let byte: u64;
            // SAFETY: within the frame, or the verifier refuses the program.
            unsafe {
                core::arch::asm!(
                    "{0} = *(u8 *)({1} + {2})",
                    out(reg) byte,
                    in(reg) self.0,
                    const OFFSET,
                    options(readonly, nostack)
                );
            }
            byte
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: as above.
        u64::from(unsafe { ((self.0 + OFFSET) as *const u8).read_unaligned() })
    }

    /// Two bytes as they stand, at an even offset.
    #[inline(always)]
    pub(crate) fn half<const OFFSET: usize>(self) -> u64 {
        #[cfg(target_arch = "bpf")]
        {
            let half: u64;
            // SAFETY: within the frame, or the verifier refuses the program.
            unsafe {
                core::arch::asm!(
                    "{0} = *(u16 *)({1} + {2})",
                    out(reg) half,
                    in(reg) self.0,
                    const OFFSET,
                    options(readonly, nostack)
                );
            }
            half
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: as above.
        u64::from(unsafe { ((self.0 + OFFSET) as *const u16).read_unaligned() })
    }

    /// Four bytes as they stand.
    #[inline(always)]
    pub(crate) fn word<const OFFSET: usize>(self) -> u64 {
        #[cfg(target_arch = "bpf")]
        {
            let word: u64;
            // SAFETY: within the frame, or the verifier refuses the program.
            unsafe {
                core::arch::asm!(
                    "{0} = *(u32 *)({1} + {2})",
                    out(reg) word,
                    in(reg) self.0,
                    const OFFSET,
                    options(readonly, nostack)
                );
            }
            word
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: as above.
        u64::from(unsafe { ((self.0 + OFFSET) as *const u32).read_unaligned() })
    }

    /// Eight bytes as they stand.
    #[inline(always)]
    pub(crate) fn quad<const OFFSET: usize>(self) -> u64 {
        #[cfg(all(target_arch = "bpf", any(bpf_target_arch = "x86_64", bpf_target_arch = "aarch64")))]
        {
            let quad: u64;
            // SAFETY: as above; these machines load from anywhere.
            unsafe {
                core::arch::asm!(
                    "{0} = *(u64 *)({1} + {2})",
                    out(reg) quad,
                    in(reg) self.0,
                    const OFFSET,
                    options(readonly, nostack)
                );
            }
            quad
        }
        #[cfg(not(all(target_arch = "bpf", any(bpf_target_arch = "x86_64", bpf_target_arch = "aarch64"))))]
        {
            let halves = [self.word::<OFFSET>(), self.skip(4).word::<OFFSET>()];
            if cfg!(target_endian = "little") {
                halves[0] | halves[1] << 32
            } else {
                halves[0] << 32 | halves[1]
            }
        }
    }
}

/// Loads 32 bits a constant number of bytes behind `start`.
macro_rules! load {
    ($start:expr, $behind:literal) => {{
        #[cfg(target_arch = "bpf")]
        {
            let word: u64;
            core::arch::asm!(
                concat!("{0} = *(u32 *)({1} + ", $behind, ")"),
                out(reg) word,
                in(reg) $start,
                options(pure, readonly, nostack)
            );
            word as u32
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            (($start + $behind) as *const u32).read_unaligned()
        }
    }};
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
        let [first, second] = self.u16(offset & !1)?.to_be_bytes();
        Some(if offset & 1 == 0 { first } else { second })
    }

    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        let start = self.at(offset, 2)?;
        // SAFETY: `start .. start + 2` lies between `data` and `data_end`, which the kernel keeps valid while the program
        // runs; offsets are even and the kernel aligns frames to at least two bytes.
        Some(u16::from_be(unsafe { *(start as *const u16) }))
    }

    #[inline(always)]
    fn u32(&self, offset: usize) -> Option<u32> {
        self.quads::<1>(offset).map(|[word]| u32::from_be(word))
    }

    #[inline(always)]
    fn octets4(&self, offset: usize) -> Option<[u8; 4]> {
        self.quads::<1>(offset).map(|[word]| word.to_ne_bytes())
    }

    #[inline(always)]
    fn quads<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        const { assert!(N <= 10) };
        let start = self.at(offset, 4 * N)?;
        let mut words = [0; N];
        macro_rules! each {
            ($($index:literal $behind:literal)*) => {
                $(
                    if N > $index {
                        // SAFETY: `4 * N` bytes from `start` lie between `data` and `data_end`.
                        words[$index] = unsafe { load!(start, $behind) };
                    }
                )*
            };
        }
        each!(0 0 1 4 2 8 3 12 4 16 5 20 6 24 7 28 8 32 9 36);
        Some(words)
    }
}
