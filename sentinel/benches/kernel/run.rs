//! `BPF_PROG_TEST_RUN` by hand: any program by its descriptor, timed by the processor time of this thread.
//!
//! The kernel's own measure is a whole number of nanoseconds and counts what else ran meanwhile; this one does neither.

use anyhow::{Context, Result, ensure};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `BPF_PROG_TEST_RUN` of `enum bpf_cmd`.
const BPF_PROG_TEST_RUN: libc::c_int = 10;
/// `BPF_MAP_UPDATE_ELEM`.
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`: frames go where the program sends them; Linux 5.18.
const LIVE_FRAMES: u32 = 1 << 1;
/// Frames that live at once.
const BATCH: u32 = 256;

/// The part of `union bpf_attr` that this command uses.
#[repr(C)]
#[derive(Default)]
struct Attr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// What the program answered last.
    pub(crate) code: u32,
    /// Processor time of one run, ns.
    pub(crate) each: f64,
}

/// Runs a program on a frame `repeat` times.
pub(crate) fn time(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> Result<Run> {
    call(program, frame, repeat, 0)
}

/// Runs a program on frames that go where it sends them.
pub(crate) fn live(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> Result<Run> {
    call(program, frame, repeat, LIVE_FRAMES)
}

fn call(program: BorrowedFd<'_>, frame: &[u8], repeat: u32, flags: u32) -> Result<Run> {
    let mut attr = Attr {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat,
        flags,
        batch_size: if flags & LIVE_FRAMES == 0 { 0 } else { BATCH },
        ..Attr::default()
    };
    let began = thread_time()?;
    loop {
        // SAFETY: the attribute has the kernel's layout, and the frame lives until the call returns.
        let code = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attr, size_of::<Attr>()) };
        if code == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        ensure!(error.kind() == io::ErrorKind::Interrupted, "BPF_PROG_TEST_RUN: {error}");
    }
    Ok(Run {
        code: attr.retval,
        each: (thread_time()? - began) / f64::from(repeat),
    })
}

/// Sets an element of a map of 4-byte keys and values.
pub(crate) fn put(map: BorrowedFd<'_>, key: u32, value: u32) -> Result<()> {
    #[repr(C)]
    struct Element {
        map_fd: u32,
        pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut attr = Element {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    // SAFETY: the attribute has the kernel's layout; key and value live until the call returns.
    let code = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_ELEM, &raw mut attr, size_of::<Element>()) };
    ensure!(code == 0, "BPF_MAP_UPDATE_ELEM: {}", io::Error::last_os_error());
    Ok(())
}

/// Processor time of this thread, ns.
pub(crate) fn thread_time() -> Result<f64> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).context("clock_gettime")?;
    Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
}

/// Keeps this thread on one CPU.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    pin_process(0, cpu)
}

/// Keeps a thread, 0 being the calling one, on one CPU.
pub(crate) fn pin_process(pid: i32, cpu: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).context("no such CPU")?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(pid), &set).context("sched_setaffinity")
}
