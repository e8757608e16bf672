//! SYN cookies: loads the stage that answers with them, enters it, and says what they can do here.

use super::Kernel;
use super::error::{KernelError, insist};
use super::load::{missing, xdp};
use super::{nat, probe};
use crate::config::{KernelConfig, Switch};
use aya::Ebpf;
use aya::maps::{Array, ProgramArray};
use sentinel_common::names as n;
use sentinel_common::settings::{SETTING_COOKIES, Settings};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Whether SYNs to a port under flood are answered with cookies by the kernel programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cookies {
    /// They are, where the stack would make cookies too.
    Ready,
    /// Not wanted (`kernel.syn_cookies.enabled`).
    Off,
    /// Not to be had, and why.
    Unable(String),
    /// Not while connections may be taken elsewhere than to the socket that listens here, and by what.
    Diverted(String),
}

/// `net.ipv4.tcp_syncookies`, which holds for IPv6 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sysctl {
    /// 0: the stack takes no cookie, so none is sent.
    Never,
    /// 1: while a listener's queue is full.
    WhenFull,
    /// 2: always; here, while its port is under flood.
    Always,
    /// The kernel was built without (`CONFIG_SYN_COOKIES`), or `/proc` does not say.
    Missing,
}

/// What the kernel is set to, in this network namespace.
///
/// # Errors
/// Where it is there and cannot be read: then nobody knows what it says, and the agent takes it for 2.
pub fn sysctl() -> io::Result<Sysctl> {
    setting(fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies"))
}

fn setting(text: io::Result<String>) -> io::Result<Sysctl> {
    match text {
        Ok(text) => Ok(match text.trim() {
            "0" => Sysctl::Never,
            "1" => Sysctl::WhenFull,
            "2" => Sysctl::Always,
            _ => Sysctl::Missing,
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Sysctl::Missing),
        Err(error) => Err(error),
    }
}

/// What a setting has to be taken for where a wrong guess would reset clients: one that cannot be read for the one that
/// answers always.
fn cautious(setting: io::Result<Sysctl>) -> Sysctl {
    setting.unwrap_or(Sysctl::Always)
}

/// Loads the stages and says so in the settings. What this kernel cannot do is left out, and floods are only reported.
///
/// # Errors
/// [`KernelError`] where cookies were insisted on (`kernel.syn_cookies.enabled: true`) and cannot be had, or the object
/// lacks a map.
pub(super) fn load(ebpf: &mut Ebpf, settings: &mut Settings, config: &KernelConfig) -> Result<Cookies, KernelError> {
    if config.syn_cookies.enabled == Switch::Off {
        return Ok(Cookies::Off);
    }
    if settings.syn_flood_half_open == 0 {
        let why = "without the egress program (`kernel.egress`) no handshake is seen to complete".to_owned();
        return Ok(Cookies::Unable(why));
    }
    let outcome = enter(ebpf, n::PROG_COOKIE, n::MAP_STAGES).and_then(|()| {
        if probe::multi_buffer() {
            enter(ebpf, n::PROG_COOKIE_FRAGS, n::MAP_STAGES_FRAGS)
        } else {
            Ok(())
        }
    });
    match outcome {
        Ok(()) => {
            protect(ebpf, &config.syn_cookies.ports)?;
            settings.flags |= SETTING_COOKIES;
            Ok(Cookies::Ready)
        }
        Err(error) if config.syn_cookies.enabled == Switch::On => Err(error),
        Err(error) => {
            tracing::warn!(%error, "SYN floods are reported and not answered with cookies");
            Ok(Cookies::Unable(error.to_string()))
        }
    }
}

/// Loads a stage and puts it where the ingress program looks for it.
fn enter(ebpf: &mut Ebpf, program: &'static str, map: &'static str) -> Result<(), KernelError> {
    let stage = xdp(ebpf, program)?;
    insist(|| stage.load()).map_err(|error| KernelError::program(program, error))?;
    let fd = stage
        .fd()
        .and_then(|fd| fd.try_clone().map_err(aya::programs::ProgramError::IOError))
        .map_err(|error| KernelError::program(program, error))?;
    let array = ebpf.map_mut(map).ok_or_else(|| missing(map))?;
    let mut array = ProgramArray::try_from(array).map_err(|error| KernelError::map(map, &error))?;
    array
        .set(n::STAGE_COOKIE, &fd, 0)
        .map_err(|error| KernelError::map(map, &error))
}

/// Says for which ports cookies may answer; none named means all.
fn protect(ebpf: &mut Ebpf, ports: &[u16]) -> Result<(), KernelError> {
    let map = n::MAP_COOKIE_PORTS;
    let failed = |error| KernelError::map(map, &error);
    let array = ebpf.map_mut(map).ok_or_else(|| missing(map))?;
    let mut array: Array<_, u64> = Array::try_from(array).map_err(failed)?;
    for (index, word) in words(ports).into_iter().enumerate() {
        array.set(index as u32, word, 0).map_err(failed)?;
    }
    Ok(())
}

fn words(ports: &[u16]) -> Vec<u64> {
    let mut words = vec![if ports.is_empty() { !0 } else { 0 }; 1 << 10];
    for port in ports {
        words[usize::from(port >> 6)] |= 1 << (port & 63);
    }
    words
}

/// What keeps cookies from answering: a cookie of a socket that listens here, where NAT takes the connection to another
/// (a published port of a container beside its proxy), is one that nobody takes back, and the client is reset. With
/// `net.ipv4.tcp_syncookies` at 1 only a listener whose queue is full makes one, and that connections do reach. Ports
/// that were named are the operator's word.
pub fn diverted(ports: &[u16], sysctl: Sysctl) -> Option<String> {
    if ports.is_empty() && sysctl == Sysctl::Always {
        nat::diverts()
    } else {
        None
    }
}

impl Kernel {
    /// Lets cookies answer, or not, by whether connections may be taken elsewhere as of now. To be asked in the network
    /// namespace of the interfaces, once a second or so.
    pub(super) fn heed_nat(&mut self) {
        if !matches!(self.cookies, Cookies::Ready | Cookies::Diverted(_)) {
            return;
        }
        let now = diverted(&self.config.syn_cookies.ports, cautious(sysctl()));
        let now = now.map_or(Cookies::Ready, Cookies::Diverted);
        if now == self.cookies {
            return;
        }
        match (&now, self.switch(SETTING_COOKIES, now == Cookies::Ready)) {
            (_, Err(error)) => {
                // It is tried again with the next look.
                tracing::warn!(%error, "whether SYN cookies answer cannot be changed");
                return;
            }
            (Cookies::Diverted(by), Ok(())) => tracing::warn!(
                %by,
                "SYN floods are reported and not answered with cookies, as connections may be taken elsewhere: name the \
                 ports whose connections end here in `kernel.syn_cookies.ports`, or set net.ipv4.tcp_syncookies to 1"
            ),
            (_, Ok(())) => tracing::info!("SYN floods are answered with cookies: nothing takes connections elsewhere"),
        }
        self.cookies = now;
    }

    /// Lets cookies answer on an interface that was just attached to in this mode, or not: a native program's answer
    /// on one end of a veth pair reaches only an end that has an XDP program too (`veth_xdp_flush`, Linux 4.19 to 6.18
    /// at least), and vanishes otherwise. Such an interface is passed over unless cookies were insisted on, and so is
    /// one whose driver cannot be asked for. Returns whether it was passed over before.
    ///
    /// # Errors
    /// [`KernelError`] when the map cannot be written.
    pub(super) fn answer_on(&mut self, interface: &str, ifindex: u32, mode: &str) -> Result<bool, KernelError> {
        let insisted = self.config.syn_cookies.enabled == Switch::On;
        let asked = (mode == "native" && !insisted).then(|| driver(interface));
        let undelivered = asked.as_ref().is_some_and(may_be_veth);
        // On tc there is no stage: the program that answers is XDP's.
        let mute = undelivered || mode == "tc";
        let able = matches!(self.cookies, Cookies::Ready | Cookies::Diverted(_));
        if let Some(Err(error)) = asked.as_ref().filter(|_| able) {
            tracing::warn!(
                interface,
                %error,
                "the driver cannot be asked for, so SYN floods are reported here and not answered with cookies, which \
                 would not arrive at one end of a veth pair: start again, or set `kernel.syn_cookies.enabled: true`"
            );
        } else if undelivered && self.cookies == Cookies::Ready {
            tracing::warn!(
                interface,
                "SYN floods are reported here and not answered with cookies, which would not arrive: the other end of \
                 this veth pair may have no XDP program; where it has, set `kernel.syn_cookies.enabled: true`"
            );
        }
        self.mute(ifindex, mute)
    }

    /// Holds cookies back on an interface, or not; returns whether they were before.
    ///
    /// # Errors
    /// [`KernelError`] when the map cannot be written.
    pub(super) fn mute(&mut self, ifindex: u32, mute: bool) -> Result<bool, KernelError> {
        let map = n::MAP_COOKIE_MUTE;
        let failed = |error| KernelError::map(map, &error);
        let array = self.ebpf.map_mut(map).ok_or_else(|| missing(map))?;
        let mut array: Array<_, u64> = Array::try_from(array).map_err(failed)?;
        let (index, bit) = ((ifindex % n::SLOT_TABLE) / 64, 1 << (ifindex % 64));
        let word = array.get(&index, 0).map_err(failed)?;
        let wanted = if mute { word | bit } else { word & !bit };
        array.set(index, wanted, 0).map_err(failed)?;
        Ok(word & bit != 0)
    }
}

/// `ETHTOOL_GDRVINFO` (`include/uapi/linux/ethtool.h`).
const ETHTOOL_GDRVINFO: u32 = 3;
/// Length of `struct ethtool_drvinfo`; the driver's name stands behind the command, in 32 bytes.
const DRVINFO: usize = 196;

/// Whether answers may not arrive at an interface with this driver.
fn may_be_veth(driver: &io::Result<Option<String>>) -> bool {
    match driver {
        Ok(driver) => driver.as_deref() == Some("veth"),
        Err(_) => true,
    }
}

/// The driver of an interface of this network namespace, where it says so.
///
/// # Errors
/// Where it could not be asked for.
fn driver(interface: &str) -> io::Result<Option<String>> {
    let mut info = [0u8; DRVINFO];
    info[..4].copy_from_slice(&ETHTOOL_GDRVINFO.to_ne_bytes());
    // SAFETY: a zeroed request is a valid one; the name is copied with its end in place; the descriptor is ours and
    // closed at the end; the kernel fills `info`, which is as long as the structure it expects there.
    let answered = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(room)) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = info.as_mut_ptr().cast();
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    match answered {
        Ok(()) => {
            let name = info[4..36].split(|byte| *byte == 0).next();
            Ok(name.map(|name| String::from_utf8_lossy(name).into_owned()))
        }
        // Drivers that tell nothing, as that of `lo`.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_become_bits() {
        assert!(words(&[]).iter().all(|word| *word == !0));
        let some = words(&[1, 80, 65_535]);
        assert_eq!((some[0], some[1], some[1023]), (2, 1 << 16, 1 << 63));
        assert_eq!(some.iter().map(|word| word.count_ones()).sum::<u32>(), 3);
    }

    #[test]
    fn a_sysctl_that_cannot_be_read_is_none_that_is_missing() {
        for (text, meant) in [
            ("0\n", Sysctl::Never),
            ("1\n", Sysctl::WhenFull),
            ("2\n", Sysctl::Always),
            ("", Sysctl::Missing),
        ] {
            assert_eq!(cautious(setting(Ok(text.to_owned()))), meant);
        }
        assert_eq!(cautious(setting(Err(ErrorKind::NotFound.into()))), Sysctl::Missing);
        let none_free = io::Error::from_raw_os_error(libc::EMFILE);
        assert_eq!(cautious(setting(Err(none_free))), Sysctl::Always);
    }

    #[test]
    fn an_interface_whose_driver_cannot_be_asked_for_may_be_one_of_a_pair() {
        assert!(driver("absent0").is_err_and(|error| may_be_veth(&Err(error))));
        assert!(!may_be_veth(&driver("lo")));
        assert!(!may_be_veth(&Ok(Some("virtio_net".to_owned()))));
        assert!(may_be_veth(&Ok(Some("veth".to_owned()))));
    }
}
