//! Rules for garde that every module needs: names, time zones, locales, currencies. Their fields say
//! `#[schema(format = …)]` as well, so that the API's description knows the rule.
//!
//! Use them as `#[garde(custom(rules::readable))]`, inside `inner(…)` for a [`Patch`](crate::Patch).

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

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

/// A rule for serde: a whole number in any spelling. To JSON Schema, 3.0 and 3e0 are the integer 3.
/// For a field that may be absent and not null, with `#[serde(default)]` beside it.
///
/// # Errors
/// When it is no number, not whole, negative, or too large.
pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    /// Beyond this, a double no longer holds every whole number.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let number = serde_json::Number::deserialize(deserializer)?;
    if let Some(whole) = number.as_u64() {
        return Ok(Some(whole));
    }
    let spelled = number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=EXACT_MAX).contains(n));
    // In these bounds the text of a double is the whole number.
    let whole = spelled.and_then(|n| format!("{:.0}", n.abs()).parse().ok());
    whole.map(Some).ok_or_else(|| de::Error::custom("expected a whole number, not negative"))
}

/// A rule for serde: what is there is not null. For a field that is an `Option` because it may be
/// absent.
///
/// # Errors
/// When it is null, or no `T`.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
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

    #[test]
    fn a_whole_number_may_be_spelled_with_a_fraction_of_zero() {
        #[derive(Deserialize)]
        struct Step(#[serde(deserialize_with = "whole")] Option<u64>);
        let read = |text| serde_json::from_str::<Step>(text).map(|step| step.0);
        for text in ["3", "3.0", "3e0", "30e-1"] {
            assert_eq!(read(text).unwrap(), Some(3), "{text}");
        }
        assert_eq!(read("18446744073709551615").unwrap(), Some(u64::MAX));
        assert_eq!(read("-0.0").unwrap(), Some(0));
        for text in ["3.5", "-1", "-1.0", "1e300", "\"3\"", "true", "null"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
