//! What was set, and what a production node lacks.

use freehold_identity::Registration;

use super::Purpose;
use super::report::Report;
use crate::settings::{Metrics, Settings};

pub(super) fn check(report: &mut Report, settings: &Settings, purpose: Purpose) {
    if purpose != Purpose::Up {
        required(report, settings, purpose);
    }
    public_url(report, settings, purpose);
    origins(report, settings, purpose);
    if settings.registration == Registration::Verified {
        report.warn(
            "registration",
            "FREEHOLD_REGISTRATION is `verified`, and there is no mailer to send links: nobody can \
             register",
            "Set it to `open`, or make people by other means.",
        );
    }
    if let Metrics::At(address) = settings.metrics
        && !address.ip().is_loopback()
    {
        report.warn(
            "metrics",
            &format!("FREEHOLD_METRICS is {address}, and nobody is asked who they are there"),
            "Let a firewall admit your collector only, or set it to 127.0.0.1:9464.",
        );
    }
}

/// What nodes are not started without.
fn required(report: &mut Report, settings: &Settings, purpose: Purpose) {
    if settings.secret_key.is_some() {
        report.ok("secret-key", "FREEHOLD_SECRET_KEY is set and long enough");
    } else {
        report.fail(
            "secret-key",
            &format!("FREEHOLD_SECRET_KEY is not set, and `{}` needs it", purpose.command()),
            "Make one with `openssl rand -hex 32`, and set the same on every node.",
        );
    }
    if settings.database.url.is_none() {
        report.fail(
            "database",
            &format!("DATABASE_URL is not set, and `{}` makes no database", purpose.command()),
            "Set it to postgres://freehold_app:PASSWORD@HOST:5432/freehold.",
        );
    }
}

fn public_url(report: &mut Report, settings: &Settings, purpose: Purpose) {
    let Some(url) = &settings.public_url else {
        match purpose {
            Purpose::Serve => report.fail(
                "public-url",
                "FREEHOLD_PUBLIC_URL is not set, and tokens and links are made with it",
                "Set it to where people reach this installation, like https://app.example.com.",
            ),
            Purpose::Up => report.ok("public-url", "http://localhost and the port"),
            Purpose::Work => {}
        }
        return;
    };
    if is_plain(url) {
        report.fail(
            "public-url",
            &format!("FREEHOLD_PUBLIC_URL is {url}: passwords and tokens would travel unencrypted"),
            "Put a proxy that speaks TLS in front, and set it to its https:// address.",
        );
    } else {
        report.ok("public-url", url);
    }
}

fn origins(report: &mut Report, settings: &Settings, purpose: Purpose) {
    let plain: Vec<&str> =
        settings.allowed_origins.iter().map(String::as_str).filter(|url| is_plain(url)).collect();
    if !plain.is_empty() {
        report.warn(
            "allowed-origins",
            &format!(
                "ALLOWED_ORIGINS admits {}: whoever sits between can put a script into such a page",
                plain.join(", ")
            ),
            "Serve these pages by https, or take them out.",
        );
    } else if purpose != Purpose::Work {
        let count = settings.allowed_origins.len();
        report.ok("allowed-origins", &format!("our own and {count} others; no wildcard"));
    }
}

/// http to another computer. What is on this one travels nowhere.
fn is_plain(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = match rest.strip_prefix('[') {
        Some(six) => six.split(']').next(),
        None => rest.split(':').next(),
    };
    let host = host.unwrap_or(rest);
    let is_here = host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !is_here
}

/// Everything that must not be printed.
pub(super) fn secrets(settings: &Settings) -> Vec<String> {
    let database = &settings.database;
    let urls = [&database.url, &database.system_url, &database.owner_url, &database.direct_url];
    let passwords = urls.into_iter().flatten().flat_map(|url| passwords(url));
    let keys = settings.secret_key.iter().chain(&settings.secret_key_previous);
    let keys = keys.map(|key| String::from_utf8_lossy(key).into_owned());
    // Shorter ones would tear holes into every word.
    passwords.chain(keys).filter(|secret| secret.len() > 2).collect()
}

/// Where a URL of PostgreSQL's may carry one: `user:HERE@host` and `?password=HERE`.
fn passwords(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let login = rest.rsplit_once('@').map_or("", |(login, _)| login);
    let first = login.split_once(':').map(|(_, password)| password.to_owned());
    let second = rest
        .split_once("password=")
        .map(|(_, tail)| tail.split('&').next().unwrap_or_default().to_owned());
    first.into_iter().chain(second).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_plain_unless_it_stays_on_this_computer() {
        for url in ["http://app.example.com", "http://10.0.0.1:3000", "http://localhost.evil.com"] {
            assert!(is_plain(url), "{url}");
        }
        for url in ["https://app.example.com", "http://localhost:3000", "http://[::1]:3000"] {
            assert!(!is_plain(url), "{url}");
        }
    }

    #[test]
    fn passwords_are_found_wherever_a_url_may_carry_them() {
        assert_eq!(passwords("postgres://a:p@ss@h/db"), ["p@ss"]);
        assert_eq!(passwords("postgres:///db?user=a&password=canary&x=1"), ["canary"]);
        assert!(passwords("postgres://a@h/db").is_empty());
    }
}
