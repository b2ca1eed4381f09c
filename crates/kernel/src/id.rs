//! Typed identifiers: a UUIDv7 in the database, a TypeID (`usr_01h…`) on the wire.
//!
//! The text form follows the TypeID specification 0.3: prefix, underscore, and the 128 bits in
//! Crockford's base32, lower case, 26 characters.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SUFFIX_LENGTH: usize = 26;

/// A thing that has ids. The prefix is three lower-case letters, unique in the installation
/// (start-up refuses a second module that uses it).
pub trait Named: 'static {
    /// The three letters before the underscore.
    const PREFIX: &'static str;
}

/// The id of a `T`. Cannot be confused with the id of anything else: not by the compiler, and not
/// by a caller, because the prefix is checked whenever it is read.
pub struct Id<T: ?Sized>(Uuid, PhantomData<fn() -> Box<T>>);

impl<T: ?Sized> Id<T> {
    /// A new id, ordered by the time it was made (UUIDv7, RFC 9562).
    #[must_use]
    pub fn new() -> Self {
        Self::from_uuid(Uuid::now_v7())
    }

    /// Takes a UUID that is known to name a `T`, as from the database.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// The plain UUID, as the database has it.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

/// Why a text is not the id that was expected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected an id that begins with `{0}_` and goes on with 26 letters and digits")]
pub struct NotAnId(&'static str);

impl<T: Named + ?Sized> FromStr for Id<T> {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.strip_prefix(T::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .and_then(decode)
            .map(Self::from_uuid)
            .ok_or(NotAnId(T::PREFIX))
    }
}

impl<T: Named + ?Sized> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = encode(self.0);
        write!(f, "{}_{}", T::PREFIX, std::str::from_utf8(&suffix).unwrap_or_default())
    }
}

impl<T: Named + ?Sized> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn encode(uuid: Uuid) -> [u8; SUFFIX_LENGTH] {
    let bits = uuid.as_u128();
    let mut text = [0; SUFFIX_LENGTH];
    for (place, letter) in text.iter_mut().rev().enumerate() {
        *letter = ALPHABET[((bits >> (5 * place)) & 31) as usize];
    }
    text
}

fn decode(text: &str) -> Option<Uuid> {
    let text = text.as_bytes();
    // 26 letters carry 130 bits: a first letter above 7 would overflow 128.
    if text.len() != SUFFIX_LENGTH || text[0] > b'7' {
        return None;
    }
    let mut bits: u128 = 0;
    for letter in text {
        let value = ALPHABET.iter().position(|known| known == letter)?;
        bits = bits << 5 | value as u128;
    }
    Some(Uuid::from_u128(bits))
}

impl<T: ?Sized> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Id<T> {}

impl<T: ?Sized> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: ?Sized> Eq for Id<T> {}

impl<T: ?Sized> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T: ?Sized> Default for Id<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// `*id` is the plain UUID, which is what a query binds.
impl<T: ?Sized> Deref for Id<T> {
    type Target = Uuid;

    fn deref(&self) -> &Uuid {
        &self.0
    }
}

impl<T: ?Sized> From<Uuid> for Id<T> {
    fn from(uuid: Uuid) -> Self {
        Self::from_uuid(uuid)
    }
}

impl<T: Named + ?Sized> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: Named + ?Sized> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<T: Named + ?Sized> utoipa::PartialSchema for Id<T> {
    fn schema() -> RefOr<Schema> {
        let example = format!("{}_01jz8q6k3mf1g8tvkh4z6c9x2b", T::PREFIX);
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("typeid".into())))
            .pattern(Some(format!("^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$", T::PREFIX)))
            .examples([example])
            .into()
    }
}

impl<T: Named + ?Sized> utoipa::ToSchema for Id<T> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("core.Id.{}", T::PREFIX))
    }
}

impl<T: ?Sized> sqlx::Type<sqlx::Postgres> for Id<T> {
    fn type_info() -> sqlx::postgres::PgTypeInfo {
        <Uuid as sqlx::Type<sqlx::Postgres>>::type_info()
    }
}

impl<'r, T: ?Sized> sqlx::Decode<'r, sqlx::Postgres> for Id<T> {
    fn decode(
        value: sqlx::postgres::PgValueRef<'r>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        <Uuid as sqlx::Decode<'r, sqlx::Postgres>>::decode(value).map(Self::from_uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Thing {}
    impl Named for Thing {
        const PREFIX: &'static str = "thg";
    }

    #[test]
    fn the_specifications_valid_vectors_hold_both_ways() {
        for (suffix, uuid) in [
            ("00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
            ("00000000000000000000000001", "00000000-0000-0000-0000-000000000001"),
            ("0000000000000000000000000a", "00000000-0000-0000-0000-00000000000a"),
            ("0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"),
            ("00000000000000000000000010", "00000000-0000-0000-0000-000000000020"),
            ("7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
            ("01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ] {
            let id: Id<Thing> = format!("thg_{suffix}").parse().unwrap();
            assert_eq!(id.uuid().to_string(), uuid);
            assert_eq!(id.to_string(), format!("thg_{suffix}"));
        }
    }

    #[test]
    fn other_prefixes_overflow_upper_case_and_wrong_lengths_are_refused() {
        for text in [
            "usr_01h455vb4pex5vsknk084sn02q",
            "thg_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "thg_01H455VB4PEX5VSKNK084SN02Q",
            "thg_01h455vb4pex5vsknk084sn02",
            "thg_01h455vb4pex5vsknk084sn02qq",
            "thg_01h455vb4pex5vsknk084sn02u",
            "01h455vb4pex5vsknk084sn02q",
            "thg_",
            "",
            "thg_01h455vb4pex5vsknk084sn0é",
        ] {
            assert!(text.parse::<Id<Thing>>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_uuid_survives_the_round_trip(bits: u128) {
            let id = Id::<Thing>::from_uuid(Uuid::from_u128(bits));
            proptest::prop_assert_eq!(id.to_string().parse::<Id<Thing>>().unwrap(), id);
        }
    }
}
