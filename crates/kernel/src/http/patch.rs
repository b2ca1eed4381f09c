//! One field of a JSON Merge Patch (RFC 7396): absent keeps, null clears, a value sets.

use garde::rules::inner::Inner;
use serde::{Deserialize, Deserializer};

/// What a patch says about one field. Give the field `#[serde(default)]`, so that absence reads
/// as [`Patch::Keep`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field was absent.
    #[default]
    Keep,
    /// The field was null.
    Clear,
    /// The field had a value.
    Set(T),
}

impl<T> Patch<T> {
    /// The field as it is afterwards, for one that may be null.
    pub fn apply(self, current: Option<T>) -> Option<T> {
        match self {
            Self::Keep => current,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl Patch<String> {
    /// The field as it is afterwards, for one that is never null: clearing gives the default.
    #[must_use]
    pub fn or_default(self, current: &str, default: &str) -> String {
        match self {
            Self::Keep => current.to_owned(),
            Self::Clear => default.to_owned(),
            Self::Set(value) => value,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|value| value.map_or(Self::Clear, Self::Set))
    }
}

/// Rules for the value apply when there is one: `#[garde(inner(length(chars, max = 40)))]`.
impl<T> Inner<T> for Patch<T> {
    type Key = garde::error::NoKey;

    fn validate_inner<F: FnMut(&T, &Self::Key)>(&self, mut rule: F) {
        if let Self::Set(value) = self {
            rule(value, &garde::error::NoKey::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Fields {
        #[serde(default)]
        nick: Patch<String>,
    }

    #[test]
    fn absent_keeps_null_clears_and_a_value_sets() {
        let read = |text| serde_json::from_str::<Fields>(text).unwrap().nick;
        assert_eq!(read("{}").apply(Some("old".into())), Some("old".into()));
        assert_eq!(read(r#"{"nick":null}"#).apply(Some("old".into())), None);
        assert_eq!(read(r#"{"nick":"new"}"#).apply(None), Some("new".into()));
    }
}
