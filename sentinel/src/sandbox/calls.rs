//! Which system calls a thread may make (seccomp(2)): those a service makes, as systemd's `@system-service` has them, without
//! what runs programs, looks into other processes, changes users, mounts, clocks, namespaces or modules, and without making
//! memory that was written executable. What is not named fails with `EPERM`.

use super::Part;
use anyhow::Result;
use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID,
    CLONE_NEWUSER, CLONE_NEWUTS, ENOSYS, EPERM, IPPROTO_TCP, IPPROTO_UDP, MSG_FASTOPEN, O_ACCMODE, O_CREAT, O_TMPFILE,
    O_TRUNC, PROT_EXEC, PROT_WRITE, TIOCLINUX, TIOCSTI,
};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Commands of bpf(2) (`enum bpf_cmd`, linux/bpf.h) that reach what is there already; those before it make something.
const BPF_OF_MAPS: [u64; 10] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    15, // BPF_OBJ_GET_INFO_BY_FD
    21, // BPF_MAP_LOOKUP_AND_DELETE_ELEM
    24, // BPF_MAP_LOOKUP_BATCH
    25, // BPF_MAP_LOOKUP_AND_DELETE_BATCH
    26, // BPF_MAP_UPDATE_BATCH
    27, // BPF_MAP_DELETE_BATCH
];

/// What every thread may do, with any arguments.
const PLAIN: &[i64] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_chdir,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_connect,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchdir,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_get_mempolicy,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_linkat,
    libc::SYS_listen,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mkdirat,
    libc::SYS_mlock,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_yield,
    libc::SYS_sendfile,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_socketpair,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_sysinfo,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_settime,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older spellings of some of these, which newer processors do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// What running `nft` takes beside.
const RUNNING: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setpgid,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// No process has this number (the most a kernel gives is 2²², `PID_MAX_LIMIT`): a signal to it tells a thread that is held
/// (`EPERM`) from one that is not (`ESRCH`).
const NOBODY: i32 = i32::MAX;

/// What reading files takes, and ending.
const READING: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getdents64,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    // Whoever waits for an answer is woken by a write.
    libc::SYS_write,
    libc::SYS_writev,
];

/// Permissions of everybody, and bits that lend the owner's: none is ever given.
const OF_OTHERS: u64 = 0o7007;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filters of each kind of thread.
pub(super) struct Filters {
    worker: BpfProgram,
    guard: BpfProgram,
    reader: BpfProgram,
    /// `clone3` names what it makes in memory, where no filter looks: libraries fall back to `clone` where there is none.
    no_clone3: BpfProgram,
}

impl Filters {
    /// `run`: programs are run.
    pub(super) fn new(run: bool) -> Result<Self> {
        let mut worker = serving(run)?;
        worker.insert(libc::SYS_bpf, bpf()?);
        let mut guard = serving(run)?;
        guard.insert(libc::SYS_bpf, Vec::new());
        let mut reader = every(READING);
        reader.insert(libc::SYS_openat, reading()?);
        reader.extend(memory()?);
        reader.extend(ourselves()?);
        let no_clone3 = [(libc::SYS_clone3, Vec::new())].into();
        Ok(Self {
            worker: compiled(worker, SeccompAction::Errno(EPERM as u32), SeccompAction::Allow)?,
            guard: compiled(guard, SeccompAction::Errno(EPERM as u32), SeccompAction::Allow)?,
            reader: compiled(reader, SeccompAction::Errno(EPERM as u32), SeccompAction::Allow)?,
            no_clone3: compiled(no_clone3, SeccompAction::Allow, SeccompAction::Errno(ENOSYS as u32))?,
        })
    }

    /// Holds the calling thread to them, and those it begins.
    pub(super) fn apply(&self, part: Part) -> Result<()> {
        seccompiler::apply_filter(&self.no_clone3)?;
        seccompiler::apply_filter(match part {
            Part::Worker => &self.worker,
            Part::Guard => &self.guard,
            Part::Reader => &self.reader,
        })?;
        Ok(())
    }
}

/// Whether the calling thread was begun by one that is held.
pub(super) fn in_force() -> bool {
    kill(Pid::from_raw(NOBODY), None) == Err(Errno::EPERM)
}

fn compiled(rules: Rules, others: SeccompAction, named: SeccompAction) -> Result<BpfProgram> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, others, named, arch)?.try_into()?)
}

fn every(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn serving(run: bool) -> Result<Rules> {
    let mut rules = every(PLAIN);
    rules.extend(every(OLDER));
    if run {
        rules.extend(every(RUNNING));
        rules.insert(libc::SYS_kill, vec![rule(vec![not(0, NOBODY.unsigned_abs().into())?])?]);
    }
    rules.extend(memory()?);
    // The filter before answers it.
    rules.insert(libc::SYS_clone3, Vec::new());
    rules.insert(libc::SYS_clone, vec![rule(vec![without(0, namespaces())?])?]);
    rules.insert(libc::SYS_socket, sockets()?);
    // A connection that is made by the first packet is asked about by nobody.
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        rules.insert(call, vec![rule(vec![without(flags, MSG_FASTOPEN as u64)?])?]);
    }
    // Who owns a file may give it away to all, without a privilege.
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_chmod, vec![rule(vec![without(1, OF_OTHERS)?])?]);
    rules.insert(libc::SYS_fchmod, vec![rule(vec![without(1, OF_OTHERS)?])?]);
    rules.insert(libc::SYS_fchmodat, vec![rule(vec![without(2, OF_OTHERS)?])?]);
    rules.extend(ourselves()?);
    // Whoever may type into a terminal types commands into the shell that waits there.
    let ioctl = vec![not(1, TIOCSTI)?, not(1, TIOCLINUX)?];
    rules.insert(libc::SYS_ioctl, vec![rule(ioctl)?]);
    Ok(rules)
}

/// Of the Internet plain TCP and UDP: multipath TCP connects where no rule about TCP looks.
fn sockets() -> Result<Vec<SeccompRule>> {
    let mut rules = vec![
        rule(vec![is(0, AF_UNIX as u64)?])?,
        rule(vec![is(0, AF_NETLINK as u64)?])?,
    ];
    for family in [AF_INET, AF_INET6] {
        for protocol in [0, IPPROTO_TCP, IPPROTO_UDP] {
            rules.push(rule(vec![is(0, family as u64)?, is(2, protocol as u64)?])?);
        }
    }
    Ok(rules)
}

/// What one may do to oneself and to no other process: signals, limits.
fn ourselves() -> Result<Rules> {
    let own = u64::from(std::process::id());
    Ok([
        (libc::SYS_tgkill, vec![rule(vec![is(0, own)?])?]),
        (
            libc::SYS_prlimit64,
            vec![rule(vec![is(0, 0)?])?, rule(vec![is(0, own)?])?],
        ),
    ]
    .into())
}

/// Memory is written or executed, never both.
fn memory() -> Result<Rules> {
    let (write, exec) = (PROT_WRITE as u64, PROT_EXEC as u64);
    Ok([
        (
            libc::SYS_mmap,
            vec![rule(vec![without(2, write)?])?, rule(vec![without(2, exec)?])?],
        ),
        (libc::SYS_mprotect, vec![rule(vec![without(2, exec)?])?]),
    ]
    .into())
}

/// Files are opened, and neither made nor written.
fn reading() -> Result<Vec<SeccompRule>> {
    let writes = (O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & !libc::O_DIRECTORY)) as u64;
    Ok(vec![rule(vec![without(2, writes)?])?])
}

fn bpf() -> Result<Vec<SeccompRule>> {
    BPF_OF_MAPS.iter().map(|command| rule(vec![is(0, *command)?])).collect()
}

fn namespaces() -> u64 {
    let flags =
        CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS;
    u64::from(flags.cast_unsigned())
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule> {
    Ok(SeccompRule::new(conditions)?)
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition> {
    compare(argument, SeccompCmpOp::Eq, value)
}

fn not(argument: u8, value: u64) -> Result<SeccompCondition> {
    compare(argument, SeccompCmpOp::Ne, value)
}

/// None of these bits.
fn without(argument: u8, bits: u64) -> Result<SeccompCondition> {
    compare(argument, SeccompCmpOp::MaskedEq(bits), 0)
}

fn compare(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)?)
}
