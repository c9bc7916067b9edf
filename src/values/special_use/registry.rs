//! The IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, updated by RFC 8190) as data, and the blocks that are
//! special without being listed there: multicast, deprecated forms, and IPv6 space that nobody has been given.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// One row: a block of addresses that no public server has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The addresses.
    pub block: IpNet,
    /// The registry's name for them.
    pub name: &'static str,
    /// Where they are set aside.
    pub rfc: &'static str,
}

const fn v4(address: [u8; 4], prefix: u8, name: &'static str, rfc: &'static str) -> Row {
    let [a, b, c, d] = address;
    Row { block: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)), name, rfc }
}

const fn v6(address: [u16; 8], prefix: u8, name: &'static str, rfc: &'static str) -> Row {
    let [a, b, c, d, e, f, g, h] = address;
    Row { block: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)), name, rfc }
}

/// Every row, globally reachable ones too (PCP and TURN anycast, AMT, AS112): what answers there is infrastructure next to us,
/// never a publisher of metadata, and a request sent there would be one that somebody else chose.
pub(super) const ROWS: &[Row] = &[
    // IANA IPv4 Special-Purpose Address Registry, in its order.
    v4([0, 0, 0, 0], 8, "\"This network\"", "RFC 791 section 3.2"),
    v4([0, 0, 0, 0], 32, "\"This host on this network\"", "RFC 1122 section 3.2.1.3"),
    v4([10, 0, 0, 0], 8, "Private-Use", "RFC 1918"),
    v4([100, 64, 0, 0], 10, "Shared Address Space", "RFC 6598"),
    v4([127, 0, 0, 0], 8, "Loopback", "RFC 1122 section 3.2.1.3"),
    v4([169, 254, 0, 0], 16, "Link Local", "RFC 3927"),
    v4([172, 16, 0, 0], 12, "Private-Use", "RFC 1918"),
    v4([192, 0, 0, 0], 24, "IETF Protocol Assignments", "RFC 6890 section 2.1"),
    v4([192, 0, 0, 0], 29, "IPv4 Service Continuity Prefix", "RFC 7335"),
    v4([192, 0, 0, 8], 32, "IPv4 dummy address", "RFC 7600"),
    v4([192, 0, 0, 9], 32, "Port Control Protocol Anycast", "RFC 7723"),
    v4([192, 0, 0, 10], 32, "Traversal Using Relays around NAT Anycast", "RFC 8155"),
    v4([192, 0, 0, 170], 32, "NAT64/DNS64 Discovery", "RFC 7050 section 2.2"),
    v4([192, 0, 0, 171], 32, "NAT64/DNS64 Discovery", "RFC 7050 section 2.2"),
    v4([192, 0, 2, 0], 24, "Documentation (TEST-NET-1)", "RFC 5737"),
    v4([192, 31, 196, 0], 24, "AS112-v4", "RFC 7535"),
    v4([192, 52, 193, 0], 24, "AMT", "RFC 7450"),
    v4([192, 88, 99, 0], 24, "Deprecated (6to4 Relay Anycast)", "RFC 7526"),
    v4([192, 88, 99, 2], 32, "6a44-relay anycast address", "RFC 6751"),
    v4([192, 168, 0, 0], 16, "Private-Use", "RFC 1918"),
    v4([192, 175, 48, 0], 24, "Direct Delegation AS112 Service", "RFC 7534"),
    v4([198, 18, 0, 0], 15, "Benchmarking", "RFC 2544"),
    v4([198, 51, 100, 0], 24, "Documentation (TEST-NET-2)", "RFC 5737"),
    v4([203, 0, 113, 0], 24, "Documentation (TEST-NET-3)", "RFC 5737"),
    v4([240, 0, 0, 0], 4, "Reserved", "RFC 1112 section 4"),
    v4([255, 255, 255, 255], 32, "Limited Broadcast", "RFC 919 section 7"),
    // Not in that registry.
    v4([224, 0, 0, 0], 4, "Multicast", "RFC 5771"),
    // IANA IPv6 Special-Purpose Address Registry, in its order.
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "Loopback Address", "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "Unspecified Address", "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "IPv4-mapped Address", "RFC 4291"),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "IPv4-IPv6 Translat.", "RFC 6052"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "IPv4-IPv6 Translat.", "RFC 8215"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "Discard-Only Address Block", "RFC 6666"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "Dummy IPv6 Prefix", "RFC 9780"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "IETF Protocol Assignments", "RFC 2928"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "TEREDO", "RFC 4380"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128, "Port Control Protocol Anycast", "RFC 7723"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128, "Traversal Using Relays around NAT Anycast", "RFC 8155"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128, "DNS-SD Service Registration Protocol Anycast", "RFC 9665"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, "Benchmarking", "RFC 5180"),
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32, "AMT", "RFC 7450"),
    v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48, "AS112-v6", "RFC 7535"),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, "Deprecated (previously ORCHID)", "RFC 4843"),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, "ORCHIDv2", "RFC 7343"),
    v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28, "Drone Remote ID Protocol Entity Tags", "RFC 9374"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "Documentation", "RFC 3849"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4", "RFC 3056"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "Direct Delegation AS112 Service", "RFC 7534"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "Documentation", "RFC 9637"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "Segment Routing (SRv6) SIDs", "RFC 9602"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "Unique-Local", "RFC 4193"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "Link-Local Unicast", "RFC 4291"),
    // Not in that registry.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-Compatible Address, deprecated", "RFC 4291 section 2.5.5.1"),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, "IPv4-translated Address", "RFC 2765 section 2.1"),
    v6([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, "6bone, returned", "RFC 3701"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "Site-Local Unicast, deprecated", "RFC 3879"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "Multicast", "RFC 4291 section 2.7"),
    // Only 2000::/3 has been given to anyone. Whatever answers in the rest is local.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3, "not global unicast", "RFC 4291 section 2.4"),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2, "not global unicast", "RFC 4291 section 2.4"),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1, "not global unicast", "RFC 4291 section 2.4"),
];
