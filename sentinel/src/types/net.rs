//! One spelling for every address and prefix.

use ipnet::{IpNet, Ipv4Net};

/// The prefix with its host bits cleared; IPv4-mapped IPv6 (`::ffff:0:0/96` and longer) as IPv4, because that is what
/// the packets of such an address are.
pub fn canonical(target: IpNet) -> IpNet {
    if let IpNet::V6(v6) = target
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(len) = v6.prefix_len().checked_sub(96)
        && let Ok(net) = Ipv4Net::new(v4, len)
    {
        return IpNet::V4(net.trunc());
    }
    target.trunc()
}
