//! 429: the installation's own limits would be what is measured. Said at once, with what to set.

use super::wire::Reply;

/// Which limit it was, and how to lift it for the run.
pub(super) fn refusal(reply: &Reply) -> String {
    let policy = reply.headers.get("ratelimit-policy").and_then(|policy| policy.to_str().ok());
    let which =
        |name: &str| policy.is_some_and(|policy| policy.starts_with(&format!("\"{name}\"")));
    let (what, settings) = if which("ip") {
        ("one address", "FREEHOLD_LIMIT_PER_IP_PER_MINUTE and FREEHOLD_LIMIT_PER_IP_BURST")
    } else if which("tenant") {
        ("one tenant", "FREEHOLD_LIMIT_PER_TENANT_PER_MINUTE and FREEHOLD_LIMIT_PER_TENANT_BURST")
    } else {
        return "Something in front of the installation refuses with 429: its limit would be what \
                is measured. Measure behind it, or lift its limit for the run."
            .to_owned();
    };
    format!(
        "The installation refuses with 429, under its limit for {what}: the limit would be what is \
         measured. For the run, set {settings} to 100000000 on every node and restart it; set them \
         back afterwards."
    )
}
