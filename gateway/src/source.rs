//! Where requests come from, as far as bounds count it.

use std::net::IpAddr;

/// What an address counts under. One IPv6 network is one source: whoever has one address of it has them all.
pub(crate) fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_is_one_source() {
        assert_eq!(source_of(at("2001:db8::1")), source_of(at("2001:db8::ffff:2")));
        assert_ne!(source_of(at("2001:db8::1")), source_of(at("2001:db8:0:1::1")));
        assert_eq!(source_of(at("::ffff:10.0.0.1")), at("10.0.0.1"));
        assert_ne!(source_of(at("10.0.0.2")), source_of(at("10.0.0.1")));
    }
}
