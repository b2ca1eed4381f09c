//! Tests of who wins, and of what a person is told about a value that cannot be.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use freehold_egress::Policy;

use super::{Settings, SettingsError, Sources};

type Outcome = Result<(), Box<dyn Error>>;

/// Reads settings from flags, an environment and the text of a file.
fn read(
    flags: &[(&'static str, &str)],
    environment: &[(&str, &str)],
    file: &str,
) -> Result<Settings, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("freehold.toml");
    std::fs::write(&path, file)?;
    let environment: HashMap<&str, &str> = environment.iter().copied().collect();
    Ok(Settings::read(&Sources {
        flags: flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        environment: &|variable| environment.get(variable).map(|value| (*value).to_owned()),
        file: &path,
    })?)
}

/// What the person is told.
fn complaint(environment: &[(&str, &str)], file: &str) -> String {
    read(&[], environment, file).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file_and_that_over_defaults() -> Outcome {
    let file = "listen = \"127.0.0.1:1\"\n[database]\npool_size = 5\n";
    let port = |flags: &[_], environment: &[_], file: &str| -> Result<u16, Box<dyn Error>> {
        Ok(read(flags, environment, file)?.listen.port())
    };
    let (flag, variable) = ([("listen", "127.0.0.1:3")], ("FREEHOLD_LISTEN", "127.0.0.1:2"));
    assert_eq!(port(&flag, &[variable, ("PORT", "4")], file)?, 3);
    assert_eq!(port(&[], &[variable, ("PORT", "4")], file)?, 2);
    assert_eq!(port(&[], &[("PORT", "4")], file)?, 4);
    assert_eq!(port(&[], &[("FREEHOLD_LISTEN", ""), ("PORT", "")], file)?, 1);
    assert_eq!(port(&[], &[], "")?, 3000);
    assert_eq!(read(&[], &[], file)?.database.pool_size, 5);
    assert_eq!(read(&[], &[("FREEHOLD_POOL_SIZE", "6")], file)?.database.pool_size, 6);
    Ok(())
}

#[test]
fn lists_are_arrays_in_the_file_and_words_with_commas_elsewhere() -> Outcome {
    let expected = ["https://a.example", "http://b.example:8080"];
    let file = "allowed_origins = [\"https://a.example\", \"http://b.example:8080\"]";
    assert_eq!(read(&[], &[], file)?.allowed_origins, expected);
    let words = [("ALLOWED_ORIGINS", "https://a.example/, http://b.example:8080")];
    assert_eq!(read(&[], &words, "")?.allowed_origins, expected);
    Ok(())
}

#[test]
fn a_burst_never_exceeds_a_limit_that_was_lowered() -> Outcome {
    let limits = read(&[], &[("FREEHOLD_LIMIT_PER_IP_PER_MINUTE", "60")], "")?.limits;
    assert_eq!((limits.per_ip.limit, limits.per_ip.burst), (60, 60));
    Ok(())
}

#[test]
fn networks_of_ones_own_are_opened_and_nothing_else_is() -> Outcome {
    let networks = ("FREEHOLD_EGRESS_ALLOWED_NETWORKS", "10.20.0.0/16, 10.1.2.3");
    let policy = read(&[], &[networks], "[egress]\nplain_http = true")?.egress;
    let permits = |address: &str| policy.permits(address.parse().unwrap()).is_ok();
    assert!(permits("10.20.1.1") && permits("10.1.2.3") && policy.plain_http);
    assert!(!permits("10.21.0.1") && !permits("127.0.0.1") && !permits("169.254.169.254"));
    assert_eq!(read(&[], &[], "")?.egress, Policy::default());
    Ok(())
}

#[test]
fn a_key_that_nothing_reads_is_named_wherever_it_stands() {
    assert!(complaint(&[], "lisen = 1").contains("`lisen`"));
    assert!(complaint(&[], "[limits]\nbody_byte = 1").contains("`limits.body_byte`"));
    assert!(complaint(&[], "[limit]\nbody_bytes = 1").contains("`limit.body_bytes`"));
    assert!(complaint(&[], "listen = ").contains("cannot be read"));
}

#[test]
fn a_value_that_cannot_be_is_told_with_its_names_and_what_would_do() {
    let told = complaint(&[("FREEHOLD_REGISTRATION", "closed")], "");
    assert_eq!(
        told,
        "FREEHOLD_REGISTRATION (`registration` in freehold.toml) is `closed`; it must be `open` or \
         `verified`."
    );
    for (variable, value) in [
        ("FREEHOLD_LISTEN", "3000"),
        ("PORT", "http"),
        ("FREEHOLD_PUBLIC_URL", "app.example.com"),
        ("ALLOWED_ORIGINS", "*"),
        ("FREEHOLD_TRUSTED_PROXIES", "10.0.0.0/8"),
        ("FREEHOLD_LOG_FORMAT", "xml"),
        ("DATABASE_POOLER", "session"),
        ("FREEHOLD_POOL_SIZE", "0"),
        ("FREEHOLD_LIMIT_BODY_BYTES", "-1"),
        ("FREEHOLD_DEMO", "maybe"),
        ("FREEHOLD_EGRESS_ALLOWED_NETWORKS", "10.0.0.0/33"),
        ("FREEHOLD_EGRESS_PLAIN_HTTP", "perhaps"),
    ] {
        let told = complaint(&[(variable, value)], "");
        assert!(told.contains(variable) && told.contains(value), "{variable}: {told}");
    }
}

#[test]
fn a_secret_that_is_too_short_is_refused_and_not_shown() {
    let told = complaint(&[("FREEHOLD_SECRET_KEY", "hunter2")], "");
    assert!(told.contains("FREEHOLD_SECRET_KEY") && !told.contains("hunter2"), "{told}");
}

#[test]
fn a_secret_that_anybody_could_guess_is_refused_and_not_shown() {
    for secret in [
        "changeme-changeme-changeme-changeme-42",
        "0123456789abcdef0123456789abcdef",
        "************************************",
        "Your-secret-key-of-at-least-32-bytes",
    ] {
        let told = complaint(&[("FREEHOLD_SECRET_KEY", secret)], "");
        assert!(told.contains("guess") && !told.contains(secret), "{told}");
    }
    let made = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    assert_eq!(complaint(&[("FREEHOLD_SECRET_KEY", made)], ""), "");
}

#[test]
fn complaints_show_neither_a_password_in_a_url_nor_the_line_of_a_secret() {
    let url = "https://me:canary@collector.example.com";
    for variable in ["FREEHOLD_OTLP_ENDPOINT", "FREEHOLD_PUBLIC_URL", "DATABASE_POOLER"] {
        let told = complaint(&[(variable, url)], "");
        assert!(told.contains(variable) && !told.contains("canary"), "{told}");
        assert!(told.contains("collector.example.com"), "{told}");
    }
    let told = complaint(&[], "secret_key = \"canary-without-an-end\n");
    assert!(told.contains("line 1") && !told.contains("canary"), "{told}");
}

#[test]
fn a_file_that_is_not_there_is_no_error() -> Result<(), SettingsError> {
    let nowhere = Path::new("/nowhere/freehold.toml");
    let sources = Sources { flags: HashMap::new(), environment: &|_| None, file: nowhere };
    assert!(Settings::read(&sources)?.demo);
    Ok(())
}
