//! Attaches: XDP native, else generic with the reason kept; egress by tcx, else by clsact.
//!
//! Attachments are links held by descriptors: they end with the process, however it ends. Only clsact filters
//! (before Linux 6.6) are not; they are removed on drop, and by [`detach_leftovers`] after a `kill -9`.

use super::error::{KernelError, chain, errno};
use super::load::{classifier, xdp};
use super::{Kernel, clsact, interface};
use aya::Ebpf;
use aya::programs::links::LinkOrder;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, XdpMode};
use sentinel_common::names as n;
use std::sync::{Arc, PoisonError, RwLock};

/// What is attached to one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// `native` or `generic`.
    pub xdp_mode: &'static str,
    /// Why not native, where it is generic.
    pub fallback: Option<String>,
    /// Whether the egress program is attached.
    pub egress: bool,
    /// Element of the counters.
    pub(super) slot: u32,
}

/// The list that attaching writes and [`Counters`](super::Counters) read.
pub(super) type AttachedList = Arc<RwLock<Vec<Attachment>>>;

/// Held links, in the order they were made.
#[derive(Default)]
pub(super) struct Links {
    xdp: Vec<XdpLink>,
    egress: Vec<SchedClassifierLink>,
    clsact: Vec<String>,
    attached: AttachedList,
}

impl Links {
    pub(super) fn attached(&self) -> AttachedList {
        Arc::clone(&self.attached)
    }

    /// `native`, `generic`, both, or `none`, for outcomes.
    pub(super) fn mode(&self) -> &'static str {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let has = |mode| attached.iter().any(|one| one.xdp_mode == mode);
        match (has("native"), has("generic")) {
            (true, true) => "native and generic",
            (true, false) => "native",
            (false, true) => "generic",
            (false, false) => "not attached",
        }
    }

    fn clear(&mut self) {
        self.xdp.clear();
        self.egress.clear();
        for interface in self.clsact.drain(..) {
            // Only one of our own making goes, and only if nobody else uses it.
            let _ = clsact::remove(&interface);
        }
        self.attached.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Kernel {
    /// Attaches to each interface: all of them, or none.
    ///
    /// # Errors
    /// [`KernelError`]; everything is then detached, also what an earlier call attached.
    pub fn attach(&mut self, interfaces: &[String]) -> Result<(), KernelError> {
        let tcx = super::probe::kernel_version().is_some_and(|version| version >= (6, 6, 0));
        self.attach_with(interfaces, tcx)
    }

    /// As [`Kernel::attach`], with the egress hook of older kernels where `tcx` is false.
    ///
    /// # Errors
    /// As [`Kernel::attach`].
    pub fn attach_with(&mut self, interfaces: &[String], tcx: bool) -> Result<(), KernelError> {
        if interfaces.is_empty() {
            return Err(KernelError::NothingToWatch {
                existing: interface::names().join(", "),
            });
        }
        for name in interfaces {
            if let Err(error) = self.attach_one(name, tcx) {
                self.detach();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Detaches everything. Maps, and what is in them, stay until the [`Kernel`] goes.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// What is attached where, and how.
    pub fn attached(&self) -> Vec<Attachment> {
        self.links
            .attached
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn attach_one(&mut self, name: &str, tcx: bool) -> Result<(), KernelError> {
        let ifindex = interface::index(name)?;
        interface::require_ethernet(name)?;
        let slot = self.slot(name, ifindex)?;
        let (link, xdp_mode, fallback) = attach_xdp(&mut self.ebpf, name, self.config.force_generic)?;
        self.links.xdp.push(link);
        if self.config.egress {
            self.attach_egress(name, tcx)?;
        }
        let attachment = Attachment {
            interface: name.to_owned(),
            ifindex,
            xdp_mode,
            fallback,
            egress: self.config.egress,
            slot,
        };
        self.links
            .attached
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(attachment);
        Ok(())
    }

    /// Gives the interface its own element of the counters.
    fn slot(&mut self, name: &str, ifindex: u32) -> Result<u32, KernelError> {
        let attached = self.attached();
        let slot = attached.len() as u32;
        if slot >= n::MAX_INTERFACES {
            return Err(KernelError::TooManyInterfaces {
                wanted: attached.len() + 1,
                max: n::MAX_INTERFACES,
            });
        }
        let element = ifindex % n::SLOT_TABLE;
        if let Some(other) = attached.iter().find(|one| one.ifindex % n::SLOT_TABLE == element) {
            return Err(KernelError::SlotTaken {
                interface: name.to_owned(),
                other: other.interface.clone(),
                table: n::SLOT_TABLE,
            });
        }
        self.slots
            .set(element, slot, 0)
            .map_err(|error| KernelError::map(n::MAP_SLOTS, &error))?;
        Ok(slot)
    }

    fn attach_egress(&mut self, name: &str, tcx: bool) -> Result<(), KernelError> {
        let failed = |cause: String| KernelError::Egress {
            interface: name.to_owned(),
            cause,
        };
        let program = classifier(&mut self.ebpf, n::PROG_EGRESS)?;
        let options = if tcx {
            TcAttachOptions::TcxOrder(LinkOrder::default())
        } else {
            if clsact::add(name).map_err(|error| failed(chain(&error)))? {
                self.links.clsact.push(name.to_owned());
            }
            TcAttachOptions::Netlink(NlOptions::default())
        };
        let link = attach_tc(program, name, options).map_err(|error| match errno(&error) {
            Some(libc::EPERM) => KernelError::permission("attaching to tc"),
            _ => failed(chain(&error)),
        })?;
        self.links.egress.push(link);
        Ok(())
    }
}

fn attach_tc(
    program: &mut SchedClassifier,
    name: &str,
    options: TcAttachOptions,
) -> Result<SchedClassifierLink, ProgramError> {
    let id = program.attach_with_options(name, TcAttachType::Egress, options)?;
    program.take_link(id)
}

/// Native, native for multi-buffer frames, generic: the first that works.
fn attach_xdp(
    ebpf: &mut Ebpf,
    name: &str,
    force_generic: bool,
) -> Result<(XdpLink, &'static str, Option<String>), KernelError> {
    let mut attempts = Vec::new();
    if force_generic {
        attempts.push("native: not wanted (`kernel.force_generic`)".to_owned());
    } else {
        for program in [n::PROG_XDP, n::PROG_XDP_FRAGS] {
            match attempt(ebpf, name, program, XdpMode::Driver)? {
                Ok(link) => return Ok((link, "native", None)),
                Err(cause) => {
                    attempts.push(format!("native: {cause}"));
                    if cause.code == Some(libc::EOPNOTSUPP) {
                        break;
                    }
                }
            }
        }
    }
    match attempt(ebpf, name, n::PROG_XDP, XdpMode::Skb)? {
        Ok(link) => Ok((link, "generic", Some(attempts.join("; ")))),
        Err(cause) => {
            attempts.push(format!("generic: {cause}"));
            Err(KernelError::Xdp {
                interface: name.to_owned(),
                attempts: attempts.join("; "),
            })
        }
    }
}

/// Why one mode did not work.
struct Cause {
    code: Option<i32>,
    text: String,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mend = match self.code {
            Some(libc::EOPNOTSUPP) => " (the driver has no native XDP)",
            Some(libc::ERANGE | libc::EINVAL) => {
                " (often the MTU, or LRO: `ip link set dev … mtu 1500`, `ethtool -K … lro off`)"
            }
            _ => "",
        };
        write!(f, "{}{mend}", self.text)
    }
}

/// One mode. The outer error is one that no other mode would mend.
fn attempt(ebpf: &mut Ebpf, name: &str, program: &str, mode: XdpMode) -> Result<Result<XdpLink, Cause>, KernelError> {
    let xdp = xdp(ebpf, program)?;
    if xdp.fd().is_err()
        && let Err(error) = xdp.load()
    {
        let text = format!("{program}: {}", KernelError::program(program, error));
        return Ok(Err(Cause { code: None, text }));
    }
    let error = match xdp.attach(name, mode).and_then(|id| xdp.take_link(id)) {
        Ok(link) => return Ok(Ok(link)),
        Err(error) => error,
    };
    let code = errno(&error);
    match code {
        Some(libc::EPERM) => Err(KernelError::permission("attaching XDP")),
        Some(libc::ENODEV) => Err(interface::index(name).err().unwrap_or_else(|| KernelError::Xdp {
            interface: name.to_owned(),
            attempts: chain(&error),
        })),
        Some(libc::EBUSY | libc::EEXIST) => Err(KernelError::ForeignXdp {
            interface: name.to_owned(),
            cause: chain(&error),
        }),
        _ => Ok(Err(Cause {
            code,
            text: chain(&error),
        })),
    }
}

/// Removes what a killed agent may have left: our filters on clsact hooks. Links are gone with their process.
/// Returns the interfaces that were cleaned.
///
/// # Errors
/// [`KernelError::System`] when a filter is there and cannot be removed.
pub fn detach_leftovers() -> Result<Vec<String>, KernelError> {
    let mut cleaned = Vec::new();
    for name in interface::names() {
        match aya::programs::tc::qdisc_detach_program(&name, TcAttachType::Egress, n::PROG_EGRESS) {
            Ok(()) => {
                let _ = clsact::remove(&name);
                cleaned.push(name);
            }
            Err(TcError::IoError(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => match errno(&error) {
                // No clsact there, which is the usual case, or the interface went away meanwhile.
                Some(libc::EINVAL | libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => {}
                Some(libc::EPERM) => return Err(KernelError::permission("detaching from tc")),
                code => {
                    return Err(KernelError::System {
                        call: format!("detaching from {name}: {}", chain(&error)),
                        source: std::io::Error::from_raw_os_error(code.unwrap_or(libc::EIO)),
                    });
                }
            },
        }
    }
    Ok(cleaned)
}
