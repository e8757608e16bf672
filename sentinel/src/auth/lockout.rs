//! Patience with whoever guesses: bounded, by address, growing shorter with each failure.

use super::AuthError;
use crate::types::Timestamp;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Failures that cost nothing.
const FREE: u32 = 5;
/// After how long without one they are forgotten.
const MEMORY: Duration = Duration::from_hours(1);
/// How long the first lock lasts; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(30);
/// How long a lock lasts at most.
const LONGEST: Duration = Duration::from_mins(15);
/// Addresses known at a time; past it, the one whose latest failure is the oldest is forgotten.
pub(super) const ADDRESSES: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    latest: Timestamp,
    locked_until: Timestamp,
}

/// Who failed lately.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    by: HashMap<IpAddr, Failures>,
}

/// One IPv6 host has a /64 to itself.
fn key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

impl Lockout {
    /// Whether somebody from there may try.
    ///
    /// # Errors
    /// [`AuthError::Locked`].
    pub(super) fn may(&self, from: IpAddr, now: Timestamp) -> Result<(), AuthError> {
        let locked = self.by.get(&key(from)).filter(|failures| now < failures.locked_until);
        match locked {
            None => Ok(()),
            Some(failures) => Err(AuthError::Locked {
                wait: Duration::from_nanos((failures.locked_until.0 - now.0).max(0) as u64),
            }),
        }
    }

    pub(super) fn failed(&mut self, from: IpAddr, now: Timestamp) {
        let from = key(from);
        let before = self
            .by
            .get(&from)
            .filter(|failures| now < failures.latest.after(MEMORY));
        let count = before.map_or(0, |failures| failures.count) + 1;
        let lock = match count.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(more) => FIRST.saturating_mul(1 << more.min(16)).min(LONGEST),
        };
        if before.is_none() && self.by.len() >= ADDRESSES {
            let oldest = self.by.iter().min_by_key(|(ip, failures)| (failures.latest, **ip));
            if let Some(oldest) = oldest.map(|(ip, _)| *ip) {
                self.by.remove(&oldest);
            }
        }
        let failures = Failures {
            count,
            latest: now,
            locked_until: if lock.is_zero() { Timestamp(0) } else { now.after(lock) },
        };
        self.by.insert(from, failures);
    }

    pub(super) fn succeeded(&mut self, from: IpAddr) {
        self.by.remove(&key(from));
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> usize {
        self.by.len()
    }
}
