//! Maps as bytes: copying one into another, and zeroing an element, whatever their values are.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Commands of bpf(2), `linux/bpf.h`.
const LOOKUP: libc::c_int = 1;
const UPDATE: libc::c_int = 2;
const NEXT_KEY: libc::c_int = 4;

/// The part of `union bpf_attr` that element commands use.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// One element command. `key` and `value` are at least as long as the map's.
fn element(command: libc::c_int, map: BorrowedFd<'_>, key: Option<&[u8]>, value: &mut [u8]) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: key.map_or(0, |key| key.as_ptr() as u64),
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the attribute is the kernel's layout; the callers size both buffers by what the map was made with, and
    // they live until the call returns.
    let code = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<ElementAttr>()) };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Copies every element of a hash or a trie into another of the same key and value sizes. Returns how many.
/// What is deleted meanwhile may be copied, and what is added may not: where that matters nobody may be writing entries.
/// A deleted key sends the walk back to its beginning, so it ends after `most` keys in any case.
///
/// # Errors
/// The kernel's; `E2BIG` or `ENOSPC` where the new map is too small.
pub(super) fn copy(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    (key_size, value_size): (usize, usize),
    most: u64,
) -> io::Result<u64> {
    let mut key = vec![0u8; key_size];
    let mut next = vec![0u8; key_size];
    let mut value = vec![0u8; value_size];
    let mut copied = 0;
    for at in 0..most {
        let after = (at > 0).then_some(key.as_slice());
        match element(NEXT_KEY, from, after, &mut next) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(copied),
            Err(error) => return Err(error),
        }
        std::mem::swap(&mut key, &mut next);
        match element(LOOKUP, from, Some(&key), &mut value) {
            Ok(()) => {}
            // The programs that still run made room in an LRU map meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error),
        }
        element(UPDATE, to, Some(&key), &mut value)?;
        copied += 1;
    }
    Ok(copied)
}

/// Zeroes those bytes of an element of a per-CPU array of `value_size` bytes a CPU, on every CPU that may
/// come up. The others stay; what the programs write there meanwhile may be lost.
///
/// # Errors
/// The kernel's.
pub(super) fn zero_per_cpu(map: BorrowedFd<'_>, index: u32, value_size: usize, bytes: Range<usize>) -> io::Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let each = value_size.next_multiple_of(8);
    let mut value = vec![0u8; each * cpus];
    let key = index.to_ne_bytes();
    element(LOOKUP, map, Some(&key), &mut value)?;
    for cpu in value.chunks_exact_mut(each) {
        cpu[bytes.clone()].fill(0);
    }
    element(UPDATE, map, Some(&key), &mut value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::probe;
    use aya::maps::MapData;
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Command of bpf(2), `linux/bpf.h`.
    const DELETE: libc::c_int = 3;
    const HASH: u32 = 1;
    const STAYS: u32 = 64;

    /// A hash of `u32` to `u64`.
    fn hash() -> MapData {
        let map = aya_obj::Map::new_from_params(HASH, 4, 8, 4 * STAYS, 0);
        MapData::create(map, "copied", None).unwrap()
    }

    fn at(command: libc::c_int, map: BorrowedFd<'_>, key: u32, value: u64) -> io::Result<u64> {
        let mut value = value.to_ne_bytes();
        element(command, map, Some(&key.to_ne_bytes()), &mut value)?;
        Ok(u64::from_ne_bytes(value))
    }

    /// Conversations with the honeypot come and go in an LRU map while the next agent copies it.
    #[test]
    fn what_goes_while_it_is_copied_is_left_out_and_nothing_else() {
        if !probe::missing_capabilities().is_empty() {
            println!("skipped: needs root");
            return;
        }
        let (from, to) = (hash(), hash());
        let (from, to) = (from.fd().as_fd(), to.fd().as_fd());
        for key in 0..STAYS {
            at(UPDATE, from, key, u64::from(key)).unwrap();
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for command in [UPDATE, DELETE] {
                        for key in STAYS..3 * STAYS {
                            let _ = at(command, from, key, 0);
                        }
                    }
                }
            });
            let copies = (0..2000).map(|_| copy(from, to, (4, 8), u64::MAX));
            let failed = copies.filter(Result::is_err).count();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(failed, 0);
        });
        for key in 0..STAYS {
            assert_eq!(at(LOOKUP, to, key, 0).unwrap(), u64::from(key));
        }
        assert_eq!(copy(from, to, (4, 8), 3).unwrap(), 3, "a walk has an end");
    }
}
