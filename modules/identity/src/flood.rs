//! Turns floods of bad sign-ins away from memory: no statement, no hashing.
//!
//! Each address has a budget of tries that are not right, on each node; those of known devices and
//! those that turn out right do not count, so that an office behind one address signs in. And a
//! lock, once the database has told of it, is remembered until it ends.

use std::net::{IpAddr, Ipv6Addr};

use freehold_kernel::{Error, Kind, Quota, RateLimiter, Result, Timestamp};
use moka::sync::Cache;

/// Locks remembered on a node, the least recently asked for forgotten first.
const LOCKS_MAX: u64 = 50_000;

/// What this node knows of bad tries.
pub(crate) struct Flood {
    limiter: RateLimiter,
    quota: Quota,
    locks: Cache<[u8; 32], Timestamp>,
}

impl Flood {
    pub(crate) fn new(quota: Quota) -> Self {
        Self { limiter: RateLimiter::default(), quota, locks: Cache::new(LOCKS_MAX) }
    }

    /// Counts a try from an address, until it is [given back](Self::give_back).
    ///
    /// # Errors
    /// 429 `identity.too_many_failures` when too many were not right.
    pub(crate) fn count(&self, ip: Option<IpAddr>) -> Result<()> {
        let decision = self.limiter.check(ip.map(source), self.quota);
        if decision.allowed {
            return Ok(());
        }
        let wait = decision.retry_after.as_secs() + 1;
        let detail = format!("Too many failed sign-ins from your network. Try again in {wait} s.");
        Err(Error::new(Kind::TooMany, "identity.too_many_failures", detail).retry_after(wait))
    }

    /// A try that was counted was right.
    pub(crate) fn give_back(&self, ip: Option<IpAddr>) {
        self.limiter.give_back(ip.map(source), self.quota);
    }

    /// Until when tries under this name are refused, as far as this node knows.
    pub(crate) fn locked_until(&self, name: &[u8; 32], now: Timestamp) -> Option<Timestamp> {
        self.locks.get(name).filter(|until| *until > now)
    }

    /// The database says that tries under this name are refused until then.
    pub(crate) fn note_lock(&self, name: [u8; 32], until: Timestamp) {
        self.locks.insert(name, until);
    }
}

/// Whoever has one address of the newer kind has the 2⁶⁴ of its network.
fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_budget_of_its_own_and_a_network_of_the_newer_kind_has_one() {
        let flood = Flood::new(Quota::per_minute(1, 2));
        let count = |ip: &str| flood.count(Some(ip.parse().unwrap()));
        assert!(count("203.0.113.7").is_ok() && count("203.0.113.7").is_ok());
        let refused = count("203.0.113.7").unwrap_err();
        assert_eq!(refused.code(), "identity.too_many_failures");
        assert!(refused.retry_after_s().unwrap() > 50, "{refused}");
        assert!(count("203.0.113.8").is_ok());
        assert!(count("2001:db8:0:1::1").is_ok() && count("2001:db8:0:1::2").is_ok());
        assert!(count("2001:db8:0:1:ffff::3").is_err());
        assert!(count("2001:db8:0:2::1").is_ok());
        flood.give_back(Some("203.0.113.7".parse().unwrap()));
        assert!(count("203.0.113.7").is_ok());
    }

    #[test]
    fn a_lock_is_remembered_until_it_ends() {
        let at = |seconds| Timestamp::from_unix_seconds(seconds).unwrap();
        let flood = Flood::new(Quota::per_minute(1, 1));
        flood.note_lock([1; 32], at(100));
        assert_eq!(flood.locked_until(&[1; 32], at(99)), Some(at(100)));
        assert_eq!(flood.locked_until(&[1; 32], at(100)), None);
        assert_eq!(flood.locked_until(&[2; 32], at(99)), None);
    }
}
