//! Known devices: a person's device that they signed in on before. It has tries of its own, so that
//! a stranger who locks an account does not lock its owner out.
//!
//! No table of them. The answer of a sign-in carries an opaque value that the device sends with the
//! next one; it proves nothing but that somebody signed in there with the password of that time.
//!
//! `fhd_` + base64url(version 1 ‖ person 16 ‖ device 16 ‖ milliseconds 8 ‖ HMAC-SHA-256 cut to 16)

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_kernel::crypto::Keyring;
use freehold_kernel::{Result, Timestamp, UserId};
use uuid::Uuid;

const PREFIX: &str = "fhd_";
const VERSION: u8 = 1;
const PAYLOAD: usize = 1 + 16 + 16 + 8;
const TAG: usize = 16;
const PURPOSE: &str = "known device";
/// A device that nobody signed in on for this long is a stranger again.
const KNOWN_FOR: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// A device on which a person signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownDevice {
    pub(crate) user: UserId,
    pub(crate) device: Uuid,
    signed_in_at: Timestamp,
}

impl KnownDevice {
    /// The device somebody signs in on now: the one they came with, else a new one.
    pub(crate) fn of(user: UserId, before: Option<Self>, now: Timestamp) -> Self {
        let device = before.map_or_else(Uuid::now_v7, |known| known.device);
        Self { user, device, signed_in_at: now }
    }

    /// Whether the device is known for a person whose password is as old as this. What signed in
    /// with an earlier password may be the very device that the new one is to keep out.
    pub(crate) fn stands_for(
        self,
        user: UserId,
        password_changed_at: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.user == user
            && self.signed_in_at.unix_ms() >= password_changed_at.unix_ms()
            && now <= self.signed_in_at + KNOWN_FOR
    }

    /// Writes the value that the device keeps.
    pub(crate) fn write(self, keyring: &Keyring) -> Result<String> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.user.as_bytes());
        bytes.extend_from_slice(self.device.as_bytes());
        bytes.extend_from_slice(&self.signed_in_at.unix_ms().to_be_bytes());
        let tag = keyring.authenticate(PURPOSE, &bytes)?;
        bytes.extend_from_slice(&tag[..TAG]);
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads a value of ours; `None` for anything else, which is a stranger's.
    pub(crate) fn read(text: &str, keyring: &Keyring) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX).filter(|rest| rest.len() <= 96)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (payload, tag) = bytes.split_at_checked(PAYLOAD)?;
        if tag.len() != TAG || payload[0] != VERSION || !keyring.verifies(PURPOSE, payload, tag) {
            return None;
        }
        let ms = i64::from_be_bytes(payload[33..].try_into().ok()?);
        Some(Self {
            user: UserId::from_uuid(Uuid::from_slice(&payload[1..17]).ok()?),
            device: Uuid::from_slice(&payload[17..33]).ok()?,
            signed_in_at: Timestamp::from_unix_ms(ms)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1000).unwrap()
    }

    #[test]
    fn a_value_reads_back_and_no_altered_one_does() {
        let keyring = Keyring::new(&[3; 32], &[]);
        let known = KnownDevice::of(UserId::new(), None, at(1_800_000_000));
        let text = known.write(&keyring).unwrap();
        assert_eq!(KnownDevice::read(&text, &keyring), Some(known));
        assert_eq!(KnownDevice::read(&text, &Keyring::new(&[4; 32], &[])), None);
        for place in 4..text.len() - 1 {
            let mut altered = text.clone().into_bytes();
            altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(KnownDevice::read(&altered, &keyring), None, "letter {place}");
        }
        for bad in ["", "fhd_", "fhd_AAAA", "nonsense", &"fhd_A".repeat(500)] {
            assert_eq!(KnownDevice::read(bad, &keyring), None);
        }
    }

    #[test]
    fn a_device_is_known_to_one_person_with_one_password_for_400_days() {
        let (ada, bob) = (UserId::new(), UserId::new());
        let known = KnownDevice::of(ada, None, at(1000));
        assert!(known.stands_for(ada, at(1000), at(1000)));
        assert!(!known.stands_for(bob, at(1000), at(1000)));
        assert!(!known.stands_for(ada, at(1001), at(1001)), "the password changed since");
        assert!(known.stands_for(ada, at(0), at(1000 + 400 * 86_400)));
        assert!(!known.stands_for(ada, at(0), at(1001 + 400 * 86_400)));
        let again = KnownDevice::of(ada, Some(known), at(2000));
        assert_eq!(again.device, known.device, "the same device keeps its count");
        assert!(again.stands_for(ada, at(1500), at(2000)));
    }
}
