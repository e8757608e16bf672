//! Programs that packets are handed to by tail call, and what those need to know: the way to the honeypot and back.
//!
//! They are loaded beside the main programs and never attached. A kernel that refuses one goes without: what would be
//! handed to it is dropped and counted, and [`Kernel::set_honeypot`] says why.

use super::Kernel;
use super::error::{KernelError, insist};
use super::load::{classifier, take, xdp};
use super::maps::Reach;
use super::probe;
use crate::config::{Hook, KernelConfig};
use aya::Ebpf;
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::ProgramFd;
use sentinel_common::addr::Addr;
use sentinel_common::names as n;
use sentinel_common::redirect::{HONEYPOT_ADDRESS, HONEYPOT_SET, Honeypot};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::PoisonError;

/// The stages, entered.
pub(super) struct Stages {
    honeypots: Array<MapData, Honeypot>,
    /// The kernel empties a program array when the last descriptor of it is closed (or its pin removed).
    _arrays: Vec<ProgramArray<MapData>>,
    /// Why packets cannot be sent to the honeypot and back, where they cannot.
    refused: Option<String>,
}

impl Stages {
    /// Loads the stages of the programs that will run, and enters them.
    ///
    /// # Errors
    /// [`KernelError::Object`] where the object lacks a map. A program that the kernel refuses is said, and missing.
    pub(super) fn load(ebpf: &mut Ebpf, config: &KernelConfig) -> Result<Self, KernelError> {
        let honeypots = take(ebpf, n::MAP_HONEYPOTS)?;
        let mut arrays = Vec::new();
        let refused = redirection(ebpf, config.egress, &mut arrays).err().map(|error| {
            tracing::warn!(%error, "nothing can be redirected to the honeypot");
            error.to_string()
        });
        Ok(Self {
            honeypots,
            _arrays: arrays,
            refused,
        })
    }
}

/// The way to the honeypot, by each kind of XDP program this kernel has, and back.
///
/// What was entered so far is kept where the rest fails: the arrays have other stages too.
fn redirection(ebpf: &mut Ebpf, egress: bool, arrays: &mut Vec<ProgramArray<MapData>>) -> Result<(), KernelError> {
    arrays.push(enter(ebpf, n::MAP_STAGES, n::PROG_REDIRECT, loaded_xdp)?);
    if probe::multi_buffer() {
        arrays.push(enter(ebpf, n::MAP_STAGES_FRAGS, n::PROG_REDIRECT_FRAGS, loaded_xdp)?);
    }
    if egress {
        arrays.push(enter(ebpf, n::MAP_STAGES_EGRESS, n::PROG_RESTORE, loaded_classifier)?);
    }
    Ok(())
}

/// Loads a program and enters it into an array.
fn enter(
    ebpf: &mut Ebpf,
    map: &'static str,
    program: &str,
    load: fn(&mut Ebpf, &str) -> Result<ProgramFd, KernelError>,
) -> Result<ProgramArray<MapData>, KernelError> {
    let fd = load(ebpf, program)?;
    let mut array: ProgramArray<_> = take(ebpf, map)?;
    array
        .set(n::STAGE_REDIRECT, &fd, 0)
        .map_err(|error| KernelError::map(map, &error))?;
    Ok(array)
}

fn loaded_xdp(ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd, KernelError> {
    let program = xdp(ebpf, name)?;
    insist(|| program.load()).map_err(|error| KernelError::program(name, error))?;
    let fd = program.fd().map_err(|error| KernelError::program(name, error))?;
    fd.try_clone().map_err(duplicating)
}

fn loaded_classifier(ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd, KernelError> {
    let program = classifier(ebpf, name)?;
    insist(|| program.load()).map_err(|error| KernelError::program(name, error))?;
    let fd = program.fd().map_err(|error| KernelError::program(name, error))?;
    fd.try_clone().map_err(duplicating)
}

fn duplicating(source: std::io::Error) -> KernelError {
    KernelError::System {
        call: "duplicating a descriptor".into(),
        source,
    }
}

impl Kernel {
    /// Where redirected sources are sent from the next packet on, by family: an address of the honeypot's own, or none
    /// to change the port only, and its port. `None` for no honeypot: what is redirected is then dropped, and counted
    /// as `redirect_failed`. A decoy for UDP with an address of its own must be bound to it, or it answers from another.
    ///
    /// # Errors
    /// [`KernelError::Honeypot`] where such a honeypot cannot be reached, or this kernel cannot redirect;
    /// [`KernelError::Map`] where it cannot be written.
    pub fn set_honeypot(
        &mut self,
        v4: Option<(Option<Ipv4Addr>, u16)>,
        v6: Option<(Option<Ipv6Addr>, u16)>,
    ) -> Result<(), KernelError> {
        let v4 = v4.map(|(address, port)| (address.map(IpAddr::V4), port));
        let v6 = v6.map(|(address, port)| (address.map(IpAddr::V6), port));
        let elements = match self.elements(v4, v6) {
            Ok(elements) => elements,
            Err(KernelError::Honeypot { cause }) => {
                // Whatever was set before, an earlier agent's with `kernel.pin` too: outcomes say that there is none.
                self.point([Honeypot::default(); 2], Some(cause.clone()))?;
                return Err(KernelError::Honeypot { cause });
            }
            Err(error) => return Err(error),
        };
        self.point(elements, None)
    }

    /// What to write, of a honeypot that can be reached.
    fn elements(
        &self,
        v4: Option<(Option<IpAddr>, u16)>,
        v6: Option<(Option<IpAddr>, u16)>,
    ) -> Result<[Honeypot; 2], KernelError> {
        let elements = [element(v4)?, element(v6)?];
        let cause = if v4.is_none() && v6.is_none() {
            None
        } else if let Some(cause) = &self.stages.refused {
            Some(format!("this kernel cannot redirect: {cause}"))
        } else if !self.config.egress {
            Some("its answers are given their address back on the way out; set `kernel.egress: true`".to_owned())
        } else if self.config.hook == Hook::Tc {
            Some("packets are rewritten in XDP, and `kernel.hook` is `tc`".to_owned())
        } else {
            None
        };
        cause.map_or(Ok(elements), |cause| Err(KernelError::Honeypot { cause }))
    }

    /// Writes both elements, and notes what outcomes are to say.
    fn point(&mut self, elements: [Honeypot; 2], refused: Option<String>) -> Result<(), KernelError> {
        for (index, honeypot) in (0..).zip(elements) {
            self.stages
                .honeypots
                .set(index, honeypot, 0)
                .map_err(|error| KernelError::map(n::MAP_HONEYPOTS, &error))?;
        }
        self.reach(|reach| {
            [reach.honeypot4, reach.honeypot6] = elements.map(|one| one.flags & HONEYPOT_SET != 0);
            reach.refused = refused;
        });
        Ok(())
    }

    /// Notes what outcomes are to say.
    fn reach(&self, change: impl FnOnce(&mut Reach)) {
        change(&mut self.shared.reach.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// One family's element.
fn element(honeypot: Option<(Option<IpAddr>, u16)>) -> Result<Honeypot, KernelError> {
    let Some((address, port)) = honeypot else {
        return Ok(Honeypot::default());
    };
    let cause = match address {
        _ if port == 0 => "it needs a port".to_owned(),
        Some(address) if address.is_loopback() => format!(
            "Linux takes nothing for {address} from outside; leave the address out, and let the honeypot listen on all"
        ),
        Some(address) if address.is_unspecified() || address.is_multicast() => {
            format!("{address} is no address a packet can be sent to")
        }
        Some(address) if address == IpAddr::V4(Ipv4Addr::BROADCAST) => {
            format!("{address} is no address a packet can be sent to")
        }
        _ => {
            return Ok(Honeypot {
                address: address.map_or_else(Addr::default, Addr::from),
                port,
                flags: HONEYPOT_SET | if address.is_some() { HONEYPOT_ADDRESS } else { 0 },
                pad: 0,
            });
        }
    };
    Err(KernelError::Honeypot { cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_honeypot_nobody_can_reach_is_refused() {
        for (address, port, part) in [
            (None, 0, "needs a port"),
            (Some("127.0.0.1"), 22, "leave the address out"),
            (Some("::1"), 22, "leave the address out"),
            (Some("0.0.0.0"), 22, "no address"),
            (Some("224.0.0.1"), 22, "no address"),
            (Some("ff02::1"), 22, "no address"),
            (Some("255.255.255.255"), 22, "no address"),
        ] {
            let address = address.map(|text| text.parse().unwrap());
            let said = element(Some((address, port))).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
        let set = element(Some((Some("192.0.2.1".parse().unwrap()), 2222))).unwrap();
        assert_eq!((set.port, set.flags), (2222, HONEYPOT_SET | HONEYPOT_ADDRESS));
        assert_eq!(element(Some((None, 2222))).unwrap().flags, HONEYPOT_SET);
        assert_eq!(element(None).unwrap(), Honeypot::default());
    }
}
