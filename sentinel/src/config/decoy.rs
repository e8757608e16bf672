//! Where a honeypot is: `:PORT` or `ADDRESS:PORT`.

use super::resolved::Decoy;
use super::value::{Fault, fault, quote};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(super) const DECOY4: &str = "a port such as `:2222` or an address and a port such as `192.0.2.7:2222`";
pub(super) const DECOY6: &str = "a port such as `:2222` or an address and a port such as `[2001:db8::7]:2222`";

/// `:PORT` or `ADDRESS:PORT`; nothing at all for none.
pub(super) fn decoy<A: Copy + Into<IpAddr>>(
    text: &str,
    read: impl Fn(&str) -> Option<A>,
) -> Result<Option<Decoy<A>>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        let wants = if size_of::<A>() == size_of::<Ipv4Addr>() {
            DECOY4
        } else {
            DECOY6
        };
        fault(format!("{} is no decoy", quote(text)), format!("write {wants}"))
    };
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    if address.is_empty() {
        return Ok(Some(Decoy { address: None, port }));
    }
    let address = read(address).ok_or_else(wrong)?;
    let ip: IpAddr = address.into();
    // What comes from outside for such an address Linux drops, so nobody would ever reach the decoy.
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
    {
        return Err(fault(
            format!("{ip} cannot be reached from outside"),
            format!("let the decoy listen on an address of this host, or on all of them and write `:{port}`"),
        ));
    }
    Ok(Some(Decoy {
        address: Some(address),
        port,
    }))
}

/// How a decoy is written.
pub(super) fn show_decoy<A: Copy + Into<IpAddr>>(decoy: Option<Decoy<A>>) -> String {
    match decoy {
        None => String::new(),
        Some(Decoy { address: None, port }) => format!(":{port}"),
        Some(Decoy {
            address: Some(address),
            port,
        }) => SocketAddr::new(address.into(), port).to_string(),
    }
}
