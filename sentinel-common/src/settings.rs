//! What the agent may change at run time: one element of the `SETTINGS` array.

/// Bit of [`Settings::flags`]: verdicts are carried out. Without it every entry counts as shadow.
pub const SETTING_ENFORCE: u32 = 1;
/// Bit of [`Settings::flags`]: account flows and report them.
pub const SETTING_FLOWS: u32 = 2;

/// Length of one budget window, as a shift of nanoseconds: 2^22 ns, about 4.2 ms.
pub const BUDGET_WINDOW_SHIFT: u32 = 22;

/// Run-time settings of the kernel programs. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How often a busy flow is reported, ns.
    pub report_interval_ns: u64,
    /// `SETTING_*` bits.
    pub flags: u32,
    /// Flow records a CPU may emit per budget window (see [`BUDGET_WINDOW_SHIFT`]); more are deferred and counted.
    pub event_budget: u32,
    /// Zero.
    pub pad: u64,
}

const _: () = assert!(size_of::<Settings>() == 24);

crate::pod!(Settings);
