use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::registry::ROWS;
use super::{refuse, refuse_name};

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

fn step(address: IpAddr, up: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let n = u32::from(v4);
            Some(IpAddr::V4(if up { n.checked_add(1)? } else { n.checked_sub(1)? }.into()))
        }
        IpAddr::V6(v6) => {
            let n = u128::from(v6);
            Some(IpAddr::V6(if up { n.checked_add(1)? } else { n.checked_sub(1)? }.into()))
        }
    }
}

#[test]
fn first_and_last_of_each_row_are_refused_and_their_neighbours_only_by_another_row() {
    for row in ROWS {
        for inside in [row.block.network(), row.block.broadcast()] {
            let refusal = refuse(inside, &[]).unwrap_or_else(|| panic!("{inside} of {row}"));
            assert!(refusal.row.is_some_and(|r| r.block.contains(&inside)), "{refusal}");
        }
        for outside in [step(row.block.network(), false), step(row.block.broadcast(), true)].into_iter().flatten() {
            let other = ROWS.iter().any(|r| r.block.contains(&outside));
            assert_eq!(refuse(outside, &[]).is_some(), other, "{outside} next to {row}");
        }
    }
}

#[test]
fn neighbours_of_blocks_are_public() {
    for address in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.1.255",
        "192.0.3.0",
        "192.31.195.255",
        "192.31.197.0",
        "192.52.192.255",
        "192.52.194.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "192.175.47.255",
        "192.175.49.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "8.8.8.8",
        "2000::",
        "2001:200::",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
        "2001:ffff::1",
        "2003::",
        "2606:4700:4700::1111",
        "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
        "2620:4f:8001::",
        "3ffd:ffff::1",
        "3fff:1000::",
        "2606:4700::5efd:7f00:1",
        "2606:4700::1:5efe:7f00:1",
    ] {
        assert_eq!(refuse(ip(address), &[]).map(|r| r.to_string()), None);
    }
}

const SPECIAL: &[&str] = &[
    "127.0.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.0.9",
    "192.0.0.10",
    "192.0.0.171",
    "198.19.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.254",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1:7f00:0:100::",
    "100::1",
    "100:0:0:1::1",
    "100:0:0:2::",
    "2001:0:7f00:1:0:0:f5ff:fffe",
    "2001:1::1",
    "2001:2::1",
    "2001:2:1::",
    "2001:3::1",
    "2001:4:112::1",
    "2001:1f::1",
    "2001:2f::1",
    "2001:3f::1",
    "2001:40::",
    "2001:1ff:ffff::",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3ffe::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::",
    "5f00::1",
    "5f01::",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::5efe:10.0.0.1",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "2606:4700::5efe:127.0.0.1",
    "2606:4700::200:5efe:8.8.8.8",
    "2002:808:808::200:5efe:192.168.0.1",
    "1fff:ffff::",
    "e000::",
    "fe00::",
];

/// What a person reads: the row, and what is inside.
#[test]
fn sentences() {
    let all: String = SPECIAL
        .iter()
        .map(|text| refuse(ip(text), &[]).unwrap_or_else(|| panic!("{text} passed")).to_string() + "\n")
        .collect();
    insta::assert_snapshot!(all);
}

#[test]
fn allowed_networks_pass_and_nothing_else_does() {
    let loopback = nets(&["127.0.0.0/8"]);
    for (address, allowed, passes) in [
        ("127.0.0.1", &loopback, true),
        ("::ffff:127.0.0.1", &loopback, true),
        ("::1", &loopback, false),
        ("128.0.0.0", &loopback, true),
        ("10.0.0.1", &loopback, false),
        ("::127.0.0.1", &loopback, false),
        ("2002:7f00:1::", &loopback, false),
        ("64:ff9b::127.0.0.1", &loopback, false),
        ("::ffff:10.0.0.1", &loopback, false),
        ("10.1.255.255", &nets(&["10.1.0.0/16"]), true),
        ("10.2.0.0", &nets(&["10.1.0.0/16"]), false),
        ("fd00::1", &nets(&["fd00::/8"]), true),
        ("fc00::1", &nets(&["fd00::/8"]), false),
        ("64:ff9b::8.8.8.8", &nets(&["64:ff9b::/96"]), true),
    ] {
        assert_eq!(refuse(ip(address), allowed).is_none(), passes, "{address} with {allowed:?}");
    }
}

#[test]
fn localhost_is_refused_by_name_unless_a_loopback_network_is_allowed() {
    for (name, allowed, passes) in [
        ("localhost", &[][..], false),
        ("LocalHost", &[], false),
        ("a.b.LOCALHOST", &[], false),
        ("localhost.", &[], false),
        ("localhost", &["10.0.0.0/8"], false),
        ("localhost", &["127.0.0.0/8"], true),
        ("localhost", &["127.0.0.2/32"], true),
        ("localhost", &["::1/128"], true),
        ("x.localhost", &["0.0.0.0/0"], true),
        ("localhost.example", &[], true),
        ("notlocalhost", &[], true),
        ("client.example", &[], true),
    ] {
        assert_eq!(refuse_name(name, &nets(allowed)).is_none(), passes, "{name} with {allowed:?}");
    }
    assert_eq!(
        refuse_name("a.localhost", &[]).map(|r| r.to_string()).as_deref(),
        Some("a.localhost always means this machine (RFC 6761 section 6.3)")
    );
}

/// Every IPv6 form of an IPv4 address.
fn transition_forms(v4: Ipv4Addr, noise: u64) -> Vec<Ipv6Addr> {
    let bits = u128::from(u32::from(v4));
    let noise = u128::from(noise);
    let nat64_local = 0x0064_ff9b_0001_u128 << 80;
    let (high, low) = (bits >> 16, bits & 0xffff);
    vec![
        (0xffff_u128 << 32) | bits,
        bits,
        (0xffff_u128 << 48) | bits,
        (0x0064_ff9b_u128 << 96) | bits,
        nat64_local | bits,
        nat64_local | (high << 64) | ((low & 0xff00) << 40) | ((low & 0xff) << 40),
        (0x2002_u128 << 112) | (bits << 80) | noise,
        (0x2001_u128 << 112) | (bits << 64) | noise,
        (0x2001_u128 << 112) | (0x0808_0808_u128 << 64) | ((noise & 0xffff_ffff) << 32) | (bits ^ 0xffff_ffff),
        (0x2606_4700_u128 << 96) | ((noise & 0xffff_ffff) << 64) | (0x5efe_u128 << 32) | bits,
        (0x2606_4700_u128 << 96) | ((noise & 0xffff_ffff) << 64) | (0x0200_5efe_u128 << 32) | bits,
    ]
    .into_iter()
    .map(Ipv6Addr::from)
    .collect()
}

proptest! {
    /// Each form of each special IPv4 address is refused, and all but the local NAT64 form (whose layout nobody can tell from
    /// outside) say which address is inside.
    #[test]
    fn transition_forms_of_special_addresses(row in 0..27_usize, offset: u32, noise: u64) {
        let IpNet::V4(block) = ROWS[row].block else { panic!("the first 27 rows are IPv4") };
        let v4 = Ipv4Addr::from(u32::from(block.network()) | (offset & u32::from(block.hostmask())));
        prop_assert!(refuse(IpAddr::V4(v4), &[]).is_some());
        for form in transition_forms(v4, noise) {
            let refusal = refuse(IpAddr::V6(form), &[]);
            prop_assert!(refusal.is_some(), "{form} of {v4}");
            let named = refusal.is_some_and(|r| r.embedded.iter().any(|(e, row)| *e == v4 && row.is_some()));
            let itself = form == Ipv6Addr::LOCALHOST || form == Ipv6Addr::UNSPECIFIED;
            prop_assert!(named || itself || form.segments()[..3] == [0x64, 0xff9b, 1], "{form} of {v4}");
        }
    }

    /// The same forms are refused when the IPv4 address is a public one.
    #[test]
    fn transition_forms_of_any_address(v4: u32, noise: u64) {
        for form in transition_forms(v4.into(), noise) {
            prop_assert!(refuse(IpAddr::V6(form), &[]).is_some(), "{form}");
        }
    }

    /// What passes lies in 2000::/3, is no ISATAP address and is in no row.
    #[test]
    fn what_passes_is_global_unicast(bits: u128) {
        let address = Ipv6Addr::from(bits);
        if refuse(IpAddr::V6(address), &[]).is_none() {
            prop_assert_eq!(address.segments()[0] & 0xe000, 0x2000);
        }
    }
}
