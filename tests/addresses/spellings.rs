//! The ways in which people and programs write an address of the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All of them, in small letters. Those that are a part of another one stand for it too: `::ffff:192.0.2.1` has `192.0.2.1`
/// in it, and `[2001:db8::1%eth0]` has `2001:db8::1`.
pub(crate) fn of(address: IpAddr) -> Vec<String> {
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => of_v6(address),
    }
}

fn of_v4(address: Ipv4Addr) -> Vec<String> {
    let octets = address.octets();
    let [a, b, c, d] = octets;
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        address.to_string(),
        // As the end of an IPv6 address: mapped, compatible, translated.
        format!("{high:x}:{low:x}"),
        format!("{high:04x}:{low:04x}"),
        // As the DNS has it for the way back.
        format!("{d}.{c}.{b}.{a}"),
        // As inet_aton reads it, too.
        u32::from(address).to_string(),
        format!("{:08x}", u32::from(address)),
        octets.map(|octet| format!("{octet:03}")).join("."),
        octets.map(|octet| format!("{octet:#x}")).join("."),
        octets.map(|octet| format!("{octet:#05o}").replace("0o", "0")).join("."),
        octets.map(|octet| octet.to_string()).join("-"),
    ]
}

fn of_v6(address: Ipv6Addr) -> Vec<String> {
    let segments = address.segments();
    let [.., high, low] = segments;
    let digits: String = segments.iter().map(|segment| format!("{segment:04x}")).collect();
    let front = segments.iter().take(6).map(|segment| format!("{segment:x}")).collect::<Vec<_>>().join(":");
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    let back: Vec<String> = digits.chars().rev().map(String::from).collect();
    vec![
        address.to_string(),
        segments.map(|segment| format!("{segment:x}")).join(":"),
        segments.map(|segment| format!("{segment:04x}")).join(":"),
        // With the end as IPv4 writes it.
        format!("{front}:{a}.{b}.{c}.{d}"),
        digits,
        back.join("."),
        segments.map(|segment| format!("{segment:x}")).join("-"),
    ]
}

/// Those of the addresses that are in `text`.
pub(crate) fn within(text: &str, addresses: &[IpAddr]) -> Vec<String> {
    let text = text.to_lowercase();
    addresses.iter().flat_map(|address| of(*address)).filter(|spelling| text.contains(spelling.as_str())).collect()
}

#[test]
fn an_address_is_found_however_it_is_written() {
    let found = |address: &str, text: &str| !within(text, &[address.parse().unwrap()]).is_empty();
    for text in [
        "from 192.0.2.77:5222",
        "::ffff:192.0.2.77",
        "[::FFFF:C000:24D]",
        "0000:0000:0000:0000:0000:ffff:c000:024d",
        "64:ff9b::c000:24d",
        "77.2.0.192.in-addr.arpa",
        "3221226061",
        "0xc000024d",
        "192.000.002.077",
        "0xc0.0x0.0x2.0x4d",
        "0300.0000.0002.0115",
        "ip-192-0-2-77",
    ] {
        assert!(found("192.0.2.77", text), "{text}");
    }
    for text in [
        "[2001:db8::7:77]:5269",
        "2001:DB8::7:77%eth0",
        "2001:db8:0:0:0:0:7:77",
        "2001:0db8:0000:0000:0000:0000:0007:0077",
        "2001:db8:0:0:0:0:0.7.0.119",
        "20010db8000000000000000000070077",
        "7.7.0.0.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
        "2001-db8-0-0-0-0-7-77.example",
    ] {
        assert!(found("2001:db8::7:77", text), "{text}");
    }
    for text in ["version 1.92.0", "192.0.2.7", "2001:db8::7:7", "c000:24", "77.2.0"] {
        assert!(!found("192.0.2.77", text) && !found("2001:db8::7:77", text), "{text}");
    }
}
