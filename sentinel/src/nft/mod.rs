//! Blocks without BPF: sets of nftables with timeouts of the kernel's own, for hosts where no program can be loaded.
//!
//! In: block and allow entries, through [`Enforcer`](crate::respond::Enforcer). Out: `table inet sentinel`, written by
//! Debian's `nft` and read back by netlink.
//! Invariant: the allow sets are asked before everything else and stand in the same table as the blocks, so that one is
//! never there without the other; an element's end is the kernel's; tables of others are never touched.
//! Deliberately elsewhere: what is blocked (`decide`), when (`respond`), the programs that see packets (`kernel`).
//!
//! [`plan`] which elements an entry is, and how they spell it · [`script`] what `nft` is told · [`program`] runs it ·
//! [`netlink`] what the kernel says · [`table`] both together · [`enforcer`] entry by entry.

mod enforcer;
#[doc(hidden)]
pub mod fuzzing;
mod netlink;
mod plan;
mod program;
mod script;
mod table;
#[cfg(test)]
mod tests;

pub use program::program as program_path;
pub use program::version;
pub use table::{Lease, Nft, Usage};

/// Why nftables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no `nft`.
    #[error("`kernel.hook: nftables` needs the program nft, and there is none in {looked}; `apt install nftables`")]
    NoProgram {
        /// Where was looked.
        looked: String,
    },
    /// `nft` could not be run, or did not end.
    #[error("nft: {cause}")]
    Run {
        /// What happened.
        cause: String,
    },
    /// `nft` refused; nothing of the transaction is in force.
    #[error("nft refused, and nothing was changed: {said}")]
    Refused {
        /// Its words, escaped and cut.
        said: String,
    },
    /// The kernel did not answer as it should.
    #[error(
        "nf_tables in the kernel: {cause}; `sentinel doctor` tells whether it has them (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET)"
    )]
    Kernel {
        /// Its words.
        cause: String,
    },
    /// A table of that name which is not ours.
    #[error(
        "there is a `table inet sentinel` that this program did not make; it is left alone. Rename or delete it (`nft delete table inet sentinel`) and start again"
    )]
    Foreign,
}
