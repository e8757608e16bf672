//! The few system calls aya has no wrapper for: map batches.

use aya::Pod;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `BPF_MAP_LOOKUP_BATCH`, Linux 5.6 (`include/uapi/linux/bpf.h`).
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

/// The part of `union bpf_attr` that batch commands use.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where a walk over a hash map stands: an opaque bucket number of the kernel's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BatchCursor(Option<u32>);

/// Reads up to `limit` elements of a hash map from where `cursor` stands, and moves it; `None` in it is the start.
/// Whole buckets come at a time, so fewer than `limit` may.
///
/// # Errors
/// The kernel's. `ENOSPC` means that one bucket holds more than `limit` elements.
pub(super) fn lookup_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut BatchCursor,
    limit: usize,
) -> io::Result<Vec<(K, V)>> {
    let mut keys = Vec::<MaybeUninit<K>>::with_capacity(limit);
    let mut values = Vec::<MaybeUninit<V>>::with_capacity(limit);
    let mut next = 0u32;
    let mut attr = BatchAttr {
        in_batch: cursor.0.as_ref().map_or(0, |at| std::ptr::from_ref(at) as u64),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: limit as u32,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the attribute is the kernel's layout and every pointer in it is valid for the length it promises
    // (`limit` keys and values, one u32 for each cursor) until the call returns.
    let code = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            &raw mut attr,
            size_of::<BatchAttr>(),
        )
    };
    let end = if code == 0 {
        false
    } else {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ENOENT) {
            return Err(error);
        }
        true
    };
    cursor.0 = (!end).then_some(next);
    let count = (attr.count as usize).min(limit);
    // SAFETY: the kernel wrote `count` keys and values, and both are plain data.
    let found = unsafe {
        keys.set_len(count);
        values.set_len(count);
        keys.into_iter()
            .zip(values)
            .map(|(k, v)| (k.assume_init(), v.assume_init()))
            .collect()
    };
    Ok(found)
}

impl BatchCursor {
    /// Whether the walk stands at its start (again).
    pub(super) const fn at_start(self) -> bool {
        self.0.is_none()
    }
}

/// `BPF_MAP_DELETE_ELEM`.
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;

/// The part of `union bpf_attr` that element commands use.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Deletes an element of a map that is shared, and so cannot be borrowed mutably.
///
/// # Errors
/// The kernel's; `ENOENT` where there is none.
pub(super) fn delete<K: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: 0,
        flags: 0,
    };
    // SAFETY: the attribute is the kernel's layout, and the key lives until the call returns.
    let code = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_DELETE_ELEM,
            &raw mut attr,
            size_of::<ElementAttr>(),
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
