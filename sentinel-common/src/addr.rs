//! Addresses as both sides write them: 16 bytes, network order, IPv4 as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4-mapped or IPv6 address: 16 bytes in network order, aligned so that kernel programs read it by words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Addr(pub [u8; 16]);

impl Addr {
    /// Wraps an IPv4 address (network order) in `::ffff:0:0/96`.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// As [`Addr::v4`], from the four octets as they stand in memory. By words, as kernel programs want it.
    #[inline(always)]
    pub const fn v4_word(word: u32) -> Self {
        Self::from_words([0, 0, 0xffff_u32.to_be(), word])
    }

    /// From four words as they stand in memory.
    #[inline(always)]
    pub const fn from_words([a, b, c, d]: [u32; 4]) -> Self {
        let whole = if cfg!(target_endian = "little") {
            a as u128 | (b as u128) << 32 | (c as u128) << 64 | (d as u128) << 96
        } else {
            d as u128 | (c as u128) << 32 | (b as u128) << 64 | (a as u128) << 96
        };
        Self(whole.to_ne_bytes())
    }

    /// From two halves as they stand in memory.
    #[inline(always)]
    pub const fn from_halves([high, low]: [u64; 2]) -> Self {
        let whole = if cfg!(target_endian = "little") {
            high as u128 | (low as u128) << 64
        } else {
            low as u128 | (high as u128) << 64
        };
        Self(whole.to_ne_bytes())
    }

    /// A copy made by two words. A plain one becomes a call of `memmove` in kernel programs, byte by byte.
    #[inline(always)]
    #[must_use]
    pub const fn by_halves(&self) -> Self {
        Self::from_halves(self.halves())
    }

    /// Both halves in one word: of another address hardly ever the same, unless somebody chose it so.
    #[inline(always)]
    pub const fn folded(&self) -> u64 {
        let [high, low] = self.halves();
        high ^ low
    }

    /// The two halves as they stand in memory.
    #[inline(always)]
    pub const fn halves(&self) -> [u64; 2] {
        let whole = u128::from_ne_bytes(self.0);
        let (low, high) = (whole as u64, (whole >> 64) as u64);
        if cfg!(target_endian = "little") {
            [low, high]
        } else {
            [high, low]
        }
    }

    /// The four words as they stand in memory.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        let [high, low] = self.halves();
        if cfg!(target_endian = "little") {
            [high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32]
        } else {
            [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32]
        }
    }

    /// Whether this is an IPv4-mapped address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        let [high, low] = self.halves();
        high == 0 && u64::from_be(low) >> 32 == 0xffff
    }

    /// The four octets, if this is an IPv4-mapped address.
    #[inline(always)]
    pub const fn as_v4(&self) -> Option<[u8; 4]> {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
            _ => None,
        }
    }

    /// The last four bytes as they stand in memory: all there is to an IPv4-mapped address.
    #[inline(always)]
    pub const fn tail(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_ne_bytes([a, b, c, d])
    }
}

/// The second half of an IPv4-mapped address, of its last four bytes; all as they stand in memory.
#[inline(always)]
pub(crate) const fn mapped(tail: u32) -> u64 {
    if cfg!(target_endian = "little") {
        0xffff_u32.to_be() as u64 | (tail as u64) << 32
    } else {
        0xffff << 32 | tail as u64
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        match addr.as_v4() {
            Some(octets) => Self::V4(Ipv4Addr::from(octets)),
            None => Self::V6(Ipv6Addr::from(addr.0)),
        }
    }
}

crate::pod!(Addr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_bytes() {
        let octets = [1, 2, 3, 4];
        assert_eq!(Addr::v4_word(u32::from_ne_bytes(octets)), Addr::v4(octets));
        assert!(Addr::v4(octets).is_v4());
        assert!(!Addr([0; 16]).is_v4());
        let mut all = [0; 16];
        for (n, byte) in all.iter_mut().enumerate() {
            *byte = n as u8;
        }
        let word = |n: usize| u32::from_ne_bytes([all[n], all[n + 1], all[n + 2], all[n + 3]]);
        assert_eq!(Addr::from_words([word(0), word(4), word(8), word(12)]), Addr(all));
        let [high, low] = Addr(all).halves();
        assert_eq!([high.to_ne_bytes(), low.to_ne_bytes()].concat(), all);
    }
}
