//! Maps as bytes: copying one into another, and zeroing an element, whatever their values are.

use std::io;
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
/// What is deleted meanwhile may be copied, and what is added may not: nobody may be writing entries.
///
/// # Errors
/// The kernel's; `E2BIG` or `ENOSPC` where the new map is too small.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, key_size: usize, value_size: usize) -> io::Result<u64> {
    let mut key = vec![0u8; key_size];
    let mut next = vec![0u8; key_size];
    let mut value = vec![0u8; value_size];
    let mut copied = 0;
    let mut first = true;
    loop {
        let after = (!first).then_some(key.as_slice());
        match element(NEXT_KEY, from, after, &mut next) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(copied),
            Err(error) => return Err(error),
        }
        std::mem::swap(&mut key, &mut next);
        first = false;
        element(LOOKUP, from, Some(&key), &mut value)?;
        element(UPDATE, to, Some(&key), &mut value)?;
        copied += 1;
    }
}

/// Zeroes the first `head` bytes of an element of a per-CPU array of `value_size` bytes a CPU, on every CPU that may
/// come up. What follows stays; what the programs write there meanwhile may be lost.
///
/// # Errors
/// The kernel's.
pub(super) fn zero_per_cpu(map: BorrowedFd<'_>, index: u32, value_size: usize, head: usize) -> io::Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let each = value_size.next_multiple_of(8);
    let mut value = vec![0u8; each * cpus];
    let key = index.to_ne_bytes();
    element(LOOKUP, map, Some(&key), &mut value)?;
    for cpu in value.chunks_exact_mut(each) {
        cpu.iter_mut().take(head).for_each(|byte| *byte = 0);
    }
    element(UPDATE, map, Some(&key), &mut value)
}
