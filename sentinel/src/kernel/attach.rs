//! Attaches: XDP native, else generic with the reason kept; egress by tcx, else by clsact.
//!
//! Unless pinning was asked for, attachments are links held by descriptors: they end with the process, however it
//! ends. Only clsact filters
//! (before Linux 6.6) are not; they are removed on drop, and by [`detach_leftovers`] after a `kill -9`.

use super::error::{KernelError, chain, errno};
use super::load::{classifier, xdp};
use super::pin::{self, Kind, Pins};
use super::{Kernel, clsact, interface, probe};
use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, LinkOrder};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, qdisc_detach_program};
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

/// `native`, `generic`, both, or `not attached`, for outcomes.
pub(super) fn mode(attached: &AttachedList) -> &'static str {
    let attached = attached.read().unwrap_or_else(PoisonError::into_inner);
    let has = |mode| attached.iter().any(|one| one.xdp_mode == mode);
    match (has("native"), has("generic")) {
        (true, true) => "native and generic",
        (true, false) => "native",
        (false, true) => "generic",
        (false, false) => "not attached",
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
        self.attach_with(interfaces, probe::tcx())
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
        if let Some(pins) = &self.pins {
            let watched: Vec<u32> = self.attached().iter().map(|one| one.ifindex).collect();
            pins.prune(&watched);
        }
        Ok(())
    }

    /// Detaches everything that is not pinned. Maps, and what is in them, stay until the [`Kernel`] and the pinned
    /// programs go.
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
        let (xdp_mode, fallback) = self.attach_ingress(name, ifindex)?;
        self.answer_on(name, ifindex, xdp_mode)?;
        if self.config.egress {
            self.attach_egress(name, ifindex, tcx)?;
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

    /// Takes over a pinned link, or attaches anew; pins where that was asked for.
    fn attach_ingress(&mut self, name: &str, ifindex: u32) -> Result<(&'static str, Option<String>), KernelError> {
        if let Some(pins) = &self.pins {
            for mode in ["native", "generic"] {
                if swap_xdp(&mut self.ebpf, pins, Kind::Xdp(mode), ifindex)? {
                    let fallback = (mode == "generic").then(|| "taken over from the run before".to_owned());
                    return Ok((mode, fallback));
                }
            }
        } else if pin::left_behind(&self.config.pin_path, name) {
            let path = self.config.pin_path.display().to_string();
            return Err(KernelError::Pinned {
                interface: name.to_owned(),
                path,
            });
        }
        let (link, mode, fallback) = attach_xdp(&mut self.ebpf, name, self.config.force_generic)?;
        match &self.pins {
            Some(pins) => pins.keep(pinnable(link)?, Kind::Xdp(mode), ifindex)?,
            None => self.links.xdp.push(link),
        }
        Ok((mode, fallback))
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

    fn attach_egress(&mut self, name: &str, ifindex: u32, tcx: bool) -> Result<(), KernelError> {
        let failed = |cause: String| KernelError::Egress {
            interface: name.to_owned(),
            cause,
        };
        let pins = self.pins.as_ref().filter(|_| tcx);
        let program = classifier(&mut self.ebpf, n::PROG_EGRESS)?;
        if let Some(pins) = pins
            && swap_egress(program, pins, ifindex)?
        {
            return Ok(());
        }
        if !tcx {
            // A filter that an agent before this one left behind would count everything twice.
            let _ = qdisc_detach_program(name, TcAttachType::Egress, n::PROG_EGRESS);
        }
        let options = if tcx {
            TcAttachOptions::TcxOrder(LinkOrder::default())
        } else {
            if clsact::add(name).map_err(|error| failed(chain(&error)))? && self.pins.is_none() {
                self.links.clsact.push(name.to_owned());
            }
            TcAttachOptions::Netlink(NlOptions::default())
        };
        let link = attach_tc(program, name, options).map_err(|error| match errno(&error) {
            Some(libc::EPERM) => KernelError::permission("attaching to tc"),
            _ => failed(chain(&error)),
        })?;
        match pins {
            Some(pins) => pins.keep(pinnable(link)?, Kind::Egress, ifindex),
            // Kept by the filter itself; only the handle is let go.
            None if self.pins.is_some() => {
                std::mem::forget(link);
                Ok(())
            }
            None => {
                self.links.egress.push(link);
                Ok(())
            }
        }
    }
}

/// The descriptor behind a link. Before Linux 5.9 XDP is attached without one, and cannot be pinned.
fn pinnable<L>(link: L) -> Result<FdLink, KernelError>
where
    FdLink: TryFrom<L, Error = LinkError>,
{
    FdLink::try_from(link).map_err(|_| KernelError::System {
        call: "pinning".to_owned(),
        source: std::io::Error::other("this kernel attaches without links; set `kernel.pin: false`"),
    })
}

/// Swaps our program into a pinned XDP link; false if there is none, or it is of no use any more.
fn swap_xdp(ebpf: &mut Ebpf, pins: &Pins, kind: Kind, ifindex: u32) -> Result<bool, KernelError> {
    for name in [n::PROG_XDP, n::PROG_XDP_FRAGS] {
        let Some(link) = pins.find(kind, ifindex)? else { break };
        let program = xdp(ebpf, name)?;
        if program.fd().is_err() && program.load().is_err() {
            continue;
        }
        let swapped = XdpLink::try_from(link).ok().and_then(|link| {
            let id = program.attach_to_link(link).ok()?;
            program.take_link(id).ok()
        });
        if swapped.is_some() {
            return Ok(true);
        }
    }
    // What is pinned is of no use: a new attachment takes its place.
    pins.drop_pin(kind, ifindex);
    Ok(false)
}

/// As [`swap_xdp`], for egress.
fn swap_egress(program: &mut SchedClassifier, pins: &Pins, ifindex: u32) -> Result<bool, KernelError> {
    let Some(link) = pins.find(Kind::Egress, ifindex)? else {
        return Ok(false);
    };
    let swapped = SchedClassifierLink::try_from(link).ok().and_then(|link| {
        let id = program.attach_to_link(link).ok()?;
        program.take_link(id).ok()
    });
    if swapped.is_none() {
        pins.drop_pin(Kind::Egress, ifindex);
    }
    Ok(swapped.is_some())
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
        let frags = probe::multi_buffer().then_some(n::PROG_XDP_FRAGS);
        for program in std::iter::once(n::PROG_XDP).chain(frags) {
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
        match qdisc_detach_program(&name, TcAttachType::Egress, n::PROG_EGRESS) {
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
