//! Rules for garde that every module needs: names, time zones, locales, currencies.
//!
//! Use them as `#[garde(custom(rules::readable))]`, inside `inner(…)` for a [`Patch`](crate::Patch).

use std::str::FromStr;

/// Something a person can read: not empty, no control characters, no spaces around it.
///
/// # Errors
/// The rule in words.
pub fn readable(name: &str, _: &()) -> garde::Result {
    if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) {
        return Err(garde::Error::new("not empty, no spaces around it, no control characters"));
    }
    Ok(())
}

/// A zone of the IANA time zone database, as in `Europe/Berlin`.
///
/// # Errors
/// The rule in words.
pub fn time_zone(name: &str, _: &()) -> garde::Result {
    jiff::tz::TimeZone::get(name)
        .map(drop)
        .map_err(|_| garde::Error::new("a zone of the IANA database, as in Europe/Berlin"))
}

/// A language tag (BCP 47) in its usual shape, as in `de` or `pt-BR`.
///
/// # Errors
/// The rule in words.
pub fn locale(tag: &str, _: &()) -> garde::Result {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    let fits = (2..=3).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_lowercase())
        && parts.all(|part| {
            (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        })
        && tag.len() <= 35;
    if fits { Ok(()) } else { Err(garde::Error::new("a language tag, as in de or pt-BR")) }
}

/// A currency of ISO 4217, as in `EUR`.
///
/// # Errors
/// The rule in words.
pub fn currency(code: &str, _: &()) -> garde::Result {
    iso_currency::Currency::from_str(code)
        .map(drop)
        .map_err(|_| garde::Error::new("a currency of ISO 4217, as in EUR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_knows_right_from_wrong() {
        assert!(readable("Ada Lovelace", &()).is_ok() && readable(" Ada", &()).is_err());
        assert!(readable("", &()).is_err() && readable("a\u{7}b", &()).is_err());
        assert!(time_zone("Africa/Lagos", &()).is_ok() && time_zone("Mars/Olympus", &()).is_err());
        assert!(locale("pt-BR", &()).is_ok() && locale("de", &()).is_ok());
        assert!(locale("german", &()).is_err() && locale("de_DE", &()).is_err());
        assert!(currency("NGN", &()).is_ok() && currency("XXY", &()).is_err());
    }
}
