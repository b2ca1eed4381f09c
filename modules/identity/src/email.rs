//! E-mail addresses: one spelling per person.

use unicode_normalization::is_nfc;

pub(crate) use freehold_kernel::directory::normalise_email as normalise;

/// A rule for garde: an address that is spelled one way only and fits the wire (RFC 5321: 254).
pub(crate) fn check(email: &str, _: &()) -> garde::Result {
    if email.chars().count() > 254 {
        return Err(garde::Error::new("an address has at most 254 characters"));
    }
    if !is_nfc(email) || email.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(garde::Error::new("write the address in its usual spelling, without spaces"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_width_do_not_make_another_person() {
        assert_eq!(normalise("Ada@Example.ORG"), "ada@example.org");
        assert_eq!(normalise("ａda@example.org"), "ada@example.org");
    }

    #[test]
    fn decomposed_and_overlong_addresses_are_refused() {
        assert!(check("ada@example.org", &()).is_ok());
        assert!(check("e\u{301}ve@example.org", &()).is_err());
        assert!(check("a da@example.org", &()).is_err());
        assert!(check(&format!("{}@example.org", "a".repeat(250)), &()).is_err());
    }
}
