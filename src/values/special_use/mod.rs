//! Which addresses must never be dialled (CIMD section 8.6: RFC 6890 special-use addresses; DESIGN.md section 7).
//!
//! An address is refused when it lies in any row of `registry`, or when its interface identifier says ISATAP. The IPv6
//! transition forms are refused whatever IPv4 address they carry, a public one included: public servers publish plain A and
//! AAAA records, and where a form leads is decided by a translator or relay that we do not see. Translators with a prefix of
//! their own (RFC 6052 section 2.2) look like any other address: an operator who runs one must keep it from private networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

mod registry;
#[cfg(test)]
mod tests;

pub use registry::Row;

/// ISATAP has no block of its own: any prefix may be followed by its interface identifier (RFC 5214 section 6.1).
const ISATAP: (&str, &str) = ("ISATAP", "RFC 5214 section 6.1");

/// Why an address is refused: its registry row, and what the IPv4 addresses inside it are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The address that was checked.
    pub address: IpAddr,
    /// The narrowest row that it lies in. `None`: its interface identifier is ISATAP's.
    pub row: Option<Row>,
    /// The IPv4 addresses that it carries, each with its own row. Two for Teredo: the server's and the client's.
    pub embedded: Vec<(Ipv4Addr, Option<Row>)>,
}

/// Why this address must not be dialled; `None` when it may be. `allowed` are the operator's `allow_networks`.
#[must_use]
pub fn refuse(address: IpAddr, allowed: &[IpNet]) -> Option<Refusal> {
    if allowed.iter().any(|network| network.contains(&address)) {
        return None;
    }
    match address {
        IpAddr::V4(_) => {
            let row = row_of(address)?;
            Some(Refusal { address, row: Some(row), embedded: Vec::new() })
        }
        IpAddr::V6(v6) => {
            // The sockets interface reaches the IPv4 host itself under this form (RFC 3493 section 3.7), so allowing that host
            // allows the form. No other form is a second spelling of the same destination.
            let mapped = v6.to_ipv4_mapped().map(IpAddr::V4);
            if mapped.is_some_and(|v4| allowed.iter().any(|network| network.contains(&v4))) {
                return None;
            }
            let row = row_of(address);
            if row.is_none() && !is_isatap(v6) {
                return None;
            }
            let embedded = embedded_in(v6).into_iter().map(|v4| (v4, row_of(IpAddr::V4(v4)))).collect();
            Some(Refusal { address, row, embedded })
        }
    }
}

/// Why this name must not be looked up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} always means this machine (RFC 6761 section 6.3)")]
pub struct NameRefusal(pub String);

/// Refuses `localhost` and every name below it: RFC 6761 section 6.3 wants them answered without asking DNS, so an answer that
/// is not loopback is a lie and one that is loopback is refused anyway. Pass when the operator allows some loopback network.
#[must_use]
pub fn refuse_name(name: &str, allowed: &[IpNet]) -> Option<NameRefusal> {
    let plain = name.strip_suffix('.').unwrap_or(name);
    let last = plain.rsplit('.').next().unwrap_or_default();
    let loopback = |network: &IpNet| {
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].iter().any(|ip| network.contains(ip))
            || matches!(network, IpNet::V4(v4) if v4.network().is_loopback())
    };
    if last.eq_ignore_ascii_case("localhost") && !allowed.iter().any(loopback) {
        return Some(NameRefusal(name.to_owned()));
    }
    None
}

/// The narrowest row that holds the address.
fn row_of(address: IpAddr) -> Option<Row> {
    registry::ROWS.iter().filter(|row| row.block.contains(&address)).max_by_key(|row| row.block.prefix_len()).copied()
}

/// RFC 5214 section 6.1: `::0:5efe:a.b.c.d`, or `::200:5efe:a.b.c.d` when the IPv4 address is globally unique.
fn is_isatap(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, _, _])
}

/// The IPv4 addresses that an IPv6 address carries, by the form that it has. An ISATAP identifier below another form's prefix
/// counts as well.
fn embedded_in(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    let mut found = match address.segments() {
        // The unspecified and the loopback address are themselves, not IPv4-compatible 0.0.0.0 and 0.0.0.1.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => vec![],
        // IPv4-compatible, IPv4-mapped, IPv4-translated, NAT64 well-known prefix.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            vec![join(high, low)]
        }
        // RFC 8215 leaves the layout below its /48 open. The last 32 bits are where a /96 has it, the only layout in common use;
        // the refusal does not depend on it.
        [0x64, 0xff9b, 1, _, _, _, high, low] => vec![join(high, low)],
        [0x2002, high, low, ..] => vec![join(high, low)],
        // Teredo: the server in the clear, the client's address with every bit inverted (RFC 4380 section 4).
        [0x2001, 0, server_high, server_low, _, _, high, low] => vec![join(server_high, server_low), join(!high, !low)],
        _ => vec![],
    };
    if let [.., high, low] = address.segments()
        && is_isatap(address)
    {
        found.push(join(high, low));
    }
    found
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.block, self.name, self.rfc)
    }
}

impl fmt::Display for Refusal {
    /// `127.0.0.1 is in 127.0.0.0/8 (Loopback, RFC 1122 section 3.2.1.3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.row {
            Some(row) => write!(f, "{} is in {row}", self.address)?,
            None => write!(f, "{} is an {} address ({})", self.address, ISATAP.0, ISATAP.1)?,
        }
        for (at, (v4, row)) in self.embedded.iter().enumerate() {
            f.write_str(if at == 0 { " and carries " } else { ", " })?;
            match row {
                Some(row) => write!(f, "{v4}, which is in {row}")?,
                None => write!(f, "{v4}")?,
            }
        }
        Ok(())
    }
}
