//! Headers from customers' settings.

use freehold_egress::{Failure, HeaderValue, Refusal, Request, check_header};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use proptest::prelude::*;

use crate::receiver::{OK, Receiver, development};

#[test]
fn headers_that_frame_the_message_are_refused_by_name() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "TE",
        "Upgrade",
        "Proxy-Authorization",
    ] {
        let refusal = check_header(name, "x").unwrap_err();
        assert_eq!(refusal, Refusal::ReservedHeader(name.to_lowercase()));
        assert!(refusal.to_string().contains("take it out"));
    }
    assert!(check_header("Authorization", "Bearer x").is_ok());
    assert!(check_header("X-Api-Key", "").is_ok());
}

#[test]
fn names_and_values_that_http_cannot_carry_are_refused() {
    for name in ["", "x y", "x:", "x\r\ny", "ü", &"x".repeat(129)] {
        assert_eq!(check_header(name, "x"), Err(Refusal::HeaderName), "{name:?}");
    }
    for value in ["a\r\nhost: b", "a\nb", "a\0b", &"x".repeat(4097)] {
        let refusal = check_header("x-a", value).unwrap_err();
        assert_eq!(refusal, Refusal::HeaderValue("x-a".to_owned()), "{value:?}");
    }
}

#[tokio::test]
async fn a_request_with_a_reserved_header_is_not_sent() {
    let receiver = Receiver::saying(OK).await;
    let egress = development();
    let target = egress.check_url(&receiver.url()).unwrap();
    for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
        let value = HeaderValue::from_static("chunked");
        let request = Request::post(target.clone(), "{}").header(name, value);
        let failure = egress.send(request).await.unwrap_err();
        assert!(matches!(failure, Failure::Refused(Refusal::ReservedHeader(_))));
    }
    assert_eq!(receiver.connections(), 0);
}

proptest! {
    #[test]
    fn no_header_that_passes_has_a_line_break(name in ".{0,40}", value in "(?s).{0,80}") {
        if let Ok((name, value)) = check_header(&name, &value) {
            prop_assert!(!name.as_str().contains(['\r', '\n']));
            prop_assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)));
        }
    }
}
