//! Waiting until no packet goes by what was in force before.
//!
//! Kernel programs run between the borders of an RCU read section, and `membarrier(MEMBARRIER_CMD_GLOBAL)` returns when
//! all those under way have ended (Linux 4.3, `kernel/sched/membarrier.c`): a few milliseconds.

use std::time::Duration;

/// `MEMBARRIER_CMD_GLOBAL` (`include/uapi/linux/membarrier.h`).
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
/// Where the kernel refuses (`nohz_full`, an old seccomp profile): a packet takes microseconds, this is long.
const LONG: Duration = Duration::from_millis(50);

/// Returns when every packet that was being judged at the call is through.
pub(super) fn wait() {
    // SAFETY: takes two integers, touches no memory.
    let code = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if code != 0 {
        std::thread::sleep(LONG);
    }
}
