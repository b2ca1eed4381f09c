//! The checks of URLs as the targets in `fuzz/` call them. No part of the crate's interface.

use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::target::Target;

/// What [`Egress::check_url`](crate::Egress::check_url) does, without a client to ask.
///
/// # Errors
/// Why the URL is not called.
pub fn check(policy: &Policy, url: &str) -> Result<Target, Refusal> {
    Target::check(policy, url)
}

/// Where a redirect leads.
///
/// # Errors
/// Why it is not followed.
pub fn redirected(from: &Target, policy: &Policy, location: &str) -> Result<Target, Refusal> {
    from.redirected(policy, location)
}
