//! Addresses and networks, as in `203.0.113.7` and `2001:db8::/32`: where a key may be used from.

use std::borrow::Cow;
use std::net::IpAddr;

use freehold_kernel::{Error, Result};
use ipnet::IpNet;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// What the API's description says of an address or a network; it arrives as a text.
pub(crate) struct Network;

impl PartialSchema for Network {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("An address or a network"))
            .pattern(Some(pattern()))
            .max_length(Some(49))
            .examples(["203.0.113.0/24"])
            .into()
    }
}

impl ToSchema for Network {
    fn name() -> Cow<'static, str> {
        "identity.Network".into()
    }
}

/// Every spelling of an address (RFC 4291), with or without the length of a prefix.
fn pattern() -> String {
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    let v4 = format!("({octet}\\.){{3}}{octet}");
    let h = "[0-9a-fA-F]{1,4}";
    // `::` stands for one group of zeros or more: so many groups before it, so many at most after.
    let shortened = (1..=6).map(|before| {
        let after = 7 - before;
        format!("({h}:){{{before}}}(:{h}){{1,{after}}}")
    });
    let v6: Vec<String> = [
        format!("({h}:){{7}}{h}"),
        format!("({h}:){{1,7}}:"),
        format!(":(:{h}){{1,7}}"),
        "::".to_owned(),
        format!("({h}:){{6}}{v4}"),
        format!("::({h}:){{0,5}}{v4}"),
    ]
    .into_iter()
    .chain(shortened)
    .collect();
    let v6 = v6.join("|");
    format!("^({v4}(/(3[0-2]|[12]?[0-9]))?|({v6})(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$")
}

/// Addresses and networks in one canonical form.
pub(crate) fn canonical(texts: &[String]) -> Result<Vec<String>> {
    let read = |(place, text): (usize, &String)| {
        parse(text).map(|network| network.trunc().to_string()).ok_or_else(|| {
            Error::invalid(
                format!("/allowedIps/{place}"),
                "core.format",
                "an address or a network, as in 203.0.113.0/24",
            )
        })
    };
    texts.iter().enumerate().map(read).collect()
}

fn parse(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_takes_what_can_be_read_and_nothing_else() {
        let pattern = regex::Regex::new(&pattern()).unwrap();
        for text in [
            "0.0.0.0",
            "203.0.113.7",
            "203.0.113.0/24",
            "255.255.255.255/32",
            "0.0.0.0/0",
            "::",
            "::1",
            "::/0",
            "2001:db8::/32",
            "2001:db8::1:2/128",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "1::3:4:5:6:7:8",
            "::2:3:4:5:6:7:8",
            "::ffff:192.0.2.1",
            "1:2:3:4:5:6:192.0.2.1/96",
            "2001:DB8::A",
        ] {
            assert!(pattern.is_match(text), "the pattern does not take {text}");
            assert!(parse(text).is_some(), "{text} cannot be read");
        }
        for text in [
            "",
            "203.0.113",
            "203.0.113.256",
            "203.0.113.07",
            "203.0.113.0/33",
            "203.0.113.0/",
            " ::1",
            "::1/129",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8::",
            "1::2::3",
            "12345::",
            "example.org",
            "::1%eth0",
        ] {
            assert!(!pattern.is_match(text), "the pattern takes {text}");
            assert!(parse(text).is_none(), "{text} can be read");
        }
    }
}
