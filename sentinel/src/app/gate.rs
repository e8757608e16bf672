//! What carries decisions out: the kernel programs, or sets of nftables where BPF cannot be loaded.

use super::guard::GuardThread;
use crate::config::{Config, Hook, Mode};
use crate::control::Reading;
use crate::detect::KernelLimits;
use crate::intel::feeds::ListEnforcer;
use crate::kernel::{Kernel, KernelError, probe};
use crate::nft::{Lease, Nft, Usage};
use crate::respond::Enforcer;
use anyhow::Context;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What stands between the network and this host.
pub(super) enum Gate {
    /// The kernel programs.
    Programs(Box<Kernel>),
    /// Sets of nftables, where BPF cannot be loaded.
    Sets(Usage, Lease),
}

impl Gate {
    /// Opens the one that the settings name, and no other in its place; in simulation it only counts.
    pub(super) fn open(config: &Config, mode: Mode) -> anyhow::Result<(Box<dyn Enforcer + Sync>, Self)> {
        if config.kernel.hook == Hook::Nftables {
            let (mut nft, lease) = Nft::open(&config.kernel)?;
            nft.set_enforcing(mode == Mode::Production)?;
            let usage = nft.usage();
            return Ok((Box::new(nft), Self::Sets(usage, lease)));
        }
        let mut kernel = Kernel::load(&config.kernel, mode)?;
        point_at_honeypot(&mut kernel, config)?;
        Ok((Box::new(kernel.blocks()), Self::Programs(Box::new(kernel))))
    }

    pub(super) fn limits(&self) -> anyhow::Result<KernelLimits> {
        let Self::Programs(kernel) = self else {
            return Ok(KernelLimits::default());
        };
        let given = kernel.settings()?;
        Ok(KernelLimits {
            reflex: given.reflex,
            syn_flood_half_open: given.syn_flood_half_open,
        })
    }

    pub(super) fn ring_lost(&self) -> Arc<AtomicU64> {
        match self {
            Self::Programs(kernel) => kernel.ring_lost(),
            Self::Sets(..) => Arc::default(),
        }
    }

    pub(super) fn lists(&self) -> Option<Arc<dyn ListEnforcer>> {
        match self {
            Self::Programs(kernel) => Some(Arc::new(kernel.lists())),
            Self::Sets(..) => None,
        }
    }

    pub(super) fn counters(&self) -> Box<dyn Fn() -> Result<Reading, KernelError> + Send> {
        match self {
            Self::Programs(kernel) => {
                let counters = kernel.counters();
                Box::new(move || counters.read())
            }
            Self::Sets(usage, _) => {
                let usage = usage.clone();
                Box::new(move || Ok((Vec::new(), usage.read())))
            }
        }
    }
}

/// What is to be taken down in the end.
pub(super) enum Closing {
    Programs(GuardThread),
    Sets(Lease),
}

impl Closing {
    pub(super) fn close(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Programs(guard) => guard.close()?,
            Self::Sets(lease) => lease.end()?,
        }
        if config.kernel.pin {
            tracing::info!(pins = %config.kernel.pin_path.display(), "the pinned programs stay; blocks lapse on time");
        } else {
            tracing::info!("detached; nothing of sentinel is left in the kernel");
        }
        Ok(())
    }
}

/// Tells the kernel programs where redirected sources go. A kernel that cannot redirect drops instead, and every outcome
/// says so.
fn point_at_honeypot(kernel: &mut Kernel, config: &Config) -> anyhow::Result<()> {
    let honeypot = config.response.honeypot;
    let v4 = honeypot.v4.map(|decoy| (decoy.address, decoy.port));
    let v6 = honeypot.v6.map(|decoy| (decoy.address, decoy.port));
    match kernel.set_honeypot(v4, v6) {
        Err(error @ KernelError::Honeypot { .. }) => {
            tracing::error!(%error, "redirected sources are dropped instead");
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}

/// The interfaces to watch: those configured, or that of the default route.
pub(super) fn interfaces(config: &Config, default: Option<&str>) -> anyhow::Result<Vec<String>> {
    if !config.kernel.interfaces.is_empty() || config.kernel.hook == Hook::Nftables {
        return Ok(config.kernel.interfaces.clone());
    }
    let name = default.with_context(|| {
        let hint = probe::own_interfaces();
        format!("no default route, so no interface to watch: name one in `kernel.interfaces`{hint}")
    })?;
    Ok(vec![name.to_owned()])
}

/// Says in the log what begins; `deaf` where no packet is seen by anybody.
pub(super) fn welcome(config: &Config, interfaces: &[String], deaf: bool) {
    tracing::info!(
        ?interfaces,
        mode = ?config.mode,
        dashboard = %format_args!("http://{}/", config.api.listen),
        version = env!("CARGO_PKG_VERSION"),
        "watching"
    );
    if deaf {
        tracing::warn!(
            "`kernel.hook: nftables`: no packet is seen, so nothing is detected and no feed is blocked; decisions made by hand \
             are carried out"
        );
    }
    if config.mode == Mode::Simulation {
        tracing::info!("simulation: every decision is counted, no packet is dropped");
    }
}
