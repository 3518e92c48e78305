//! What counts as one address: who is limited by his address must not have a million of them.

use std::net::{IpAddr, Ipv6Addr};

/// What `peer` is counted as: nobody has many addresses of IPv4, and of IPv6 a customer has a /56 network.
#[must_use]
pub fn household(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !(u128::MAX >> 56)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_one_address() {
        let one: IpAddr = "2001:db8:0:aa01::1".parse().unwrap();
        let other: IpAddr = "2001:db8:0:aaff:1::2".parse().unwrap();
        let stranger: IpAddr = "2001:db8:0:ab00::1".parse().unwrap();
        assert_eq!(household(one), household(other));
        assert_ne!(household(one), household(stranger));
        assert_eq!(household("::ffff:192.0.2.1".parse().unwrap()), IpAddr::from([192, 0, 2, 1]));
    }
}
