//! From a URL to addresses that may be dialled (CIMD section 8.6).
//!
//! A name is resolved **once**, every answer is checked, and what was checked is what is dialled: `Checked` has no other
//! constructor and `super::http` connects to nothing else. So a name that changes its address between check and use (DNS
//! rebinding) gains nothing, and one bad answer refuses the name: a public address next to a private one is how a name that is
//! fine today is pointed inside tomorrow.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Deadline, Failure};
use crate::judge::dossier::Absence;
use crate::values::PublicUrl;
use crate::values::special_use::{refuse, refuse_name};
use crate::values::url::Host;

/// Most answers for a name. Large sites have 8 A and 8 AAAA records; a name with more than twice that is testing us.
pub const ANSWERS_MAX: usize = 32;

/// Most addresses that are tried. With the usual deadline of 3 s a fourth would have too little left to be worth it.
pub const DIALS_MAX: usize = 3;

/// A future in a box, as a trait object needs it.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + 'a>>;

/// Looks up the addresses of a name.
pub trait Resolver: Send + Sync {
    /// All A and AAAA records of the absolute name, or one sentence why there are none. No search domain is appended: the name in
    /// a URL means the same everywhere.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}

/// Addresses of one URL, every one of them checked. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Checked(Vec<SocketAddr>);

impl Checked {
    /// Those to dial, in this order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().copied().take(DIALS_MAX)
    }

    #[cfg(test)]
    pub(super) fn for_tests(addresses: &[&str]) -> Self {
        Self(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }
}

/// The address rules of one configuration.
pub(super) struct Guard {
    resolver: Arc<dyn Resolver>,
    /// Lower-case names.
    overrides: BTreeMap<String, Vec<SocketAddr>>,
    allowed: Vec<IpNet>,
}

impl Guard {
    /// With the operator's `resolve` and `allow_networks`.
    pub(super) fn new(resolver: Arc<dyn Resolver>, overrides: &BTreeMap<String, Vec<SocketAddr>>, allowed: Vec<IpNet>) -> Self {
        let overrides = overrides.iter().map(|(name, to)| (name.to_ascii_lowercase(), to.clone())).collect();
        Self { resolver, overrides, allowed }
    }

    /// The addresses of a URL's host.
    ///
    /// # Errors
    /// The name does not resolve in time, or one of its addresses is special-use.
    pub(super) async fn check(&self, url: &PublicUrl, deadline: Deadline) -> Result<Checked, Failure> {
        let mut answers = match url.host() {
            Host::Address(address) => vec![SocketAddr::new(address, url.port())],
            Host::Name(name) => self.addresses_of(name, url.port(), deadline).await?,
        };
        for answer in &answers {
            if let Some(refusal) = refuse(answer.ip(), &self.allowed) {
                let why = match url.host() {
                    Host::Name(name) => format!("{name} has a special-use address: {refusal}"),
                    Host::Address(_) => refusal.to_string(),
                };
                return Err(Failure::new(Absence::BlockedAddress, &why));
            }
        }
        alternate_families(&mut answers);
        Ok(Checked(answers))
    }

    async fn addresses_of(&self, name: &str, port: u16, deadline: Deadline) -> Result<Vec<SocketAddr>, Failure> {
        let unreachable = |why: String| Failure::new(Absence::Unreachable, &why);
        if let Some(refusal) = refuse_name(name, &self.allowed) {
            return Err(Failure::new(Absence::BlockedAddress, &refusal.to_string()));
        }
        let name = name.to_ascii_lowercase();
        let mut answers: Vec<SocketAddr> = match self.overrides.get(&name) {
            Some(addresses) => addresses.clone(),
            None => {
                let found = deadline.bound("looking up the name", self.resolver.resolve(&name)).await?;
                let found = found.map_err(|why| unreachable(format!("{name} does not resolve: {why}")))?;
                found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
            }
        };
        // In the order given: servers rotate it to spread the load, operators write what they prefer first.
        let mut seen = BTreeSet::new();
        answers.retain(|answer| seen.insert(*answer));
        match answers.len() {
            0 => Err(unreachable(format!("{name} has no addresses"))),
            1..=ANSWERS_MAX => Ok(answers),
            many => Err(unreachable(format!("{name} has {many} addresses, more than {ANSWERS_MAX}"))),
        }
    }
}

/// IPv4 and IPv6 by turns, IPv4 first: a host without working IPv6 then loses no time, and a host without IPv4 fails at once on
/// the first (RFC 8305 section 4 wants the families interleaved; which goes first is the client's choice).
fn alternate_families(answers: &mut Vec<SocketAddr>) {
    let (v4, v6): (Vec<_>, Vec<_>) = answers.drain(..).partition(SocketAddr::is_ipv4);
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    loop {
        let pair = [v4.next(), v6.next()];
        if pair == [None, None] {
            return;
        }
        answers.extend(pair.into_iter().flatten());
    }
}
