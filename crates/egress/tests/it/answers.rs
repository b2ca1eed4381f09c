//! Answers that are none: resets, halves, garbage, headers without end.

use freehold_egress::{Answer, Failure, Fault, Request};

use crate::receiver::{OK, Receiver, development};

async fn sent(receiver: &Receiver) -> Result<Answer, Failure> {
    let egress = development();
    let target = egress.check_url(&receiver.url()).unwrap();
    egress.send(Request::post(target, r#"{"type":"user.created"}"#)).await
}

async fn fault(receiver: &Receiver) -> Fault {
    let failure = sent(receiver).await.unwrap_err();
    assert!(failure.may_have_arrived());
    let Failure::Broken(fault, _) = failure else { panic!("{failure:?}") };
    fault
}

#[tokio::test]
async fn a_receiver_that_closes_before_answering_is_told_so() {
    let receiver = Receiver::talking(|mut peer| async move { peer.hear().await.map(drop) }).await;
    assert_eq!(fault(&receiver).await, Fault::Closed);
    assert_eq!(receiver.requests(), 1, "what may have arrived is not sent again");
}

#[tokio::test]
async fn a_receiver_that_resets_is_told_so() {
    let receiver = Receiver::talking(|mut peer| async move {
        peer.hear().await?;
        peer.stream.set_zero_linger()
    })
    .await;
    assert_eq!(fault(&receiver).await, Fault::Closed);
}

#[tokio::test]
async fn half_a_body_is_no_answer() {
    let receiver = Receiver::talking(|mut peer| async move {
        peer.hear().await?;
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await
    })
    .await;
    assert_eq!(fault(&receiver).await, Fault::Closed);
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole() {
    let receiver = Receiver::talking(|mut peer| async move {
        peer.hear().await?;
        peer.say(b"HTTP/1.0 200 OK\r\n\r\nall of it").await
    })
    .await;
    let answer = sent(&receiver).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"all of it"[..]));
    assert!(!answer.truncated);
}

#[tokio::test]
async fn a_receiver_that_answers_and_closes_costs_at_most_one_failure_per_close() {
    let receiver = Receiver::talking(|mut peer| async move {
        peer.hear().await?;
        peer.say(OK.as_bytes()).await
    })
    .await;
    let egress = development();
    let target = egress.check_url(&receiver.url()).unwrap();
    let mut answers = 0;
    for _ in 0..10 {
        // Whether the client has seen the close before it writes is for the kernel to say.
        match egress.send(Request::post(target.clone(), "{}")).await {
            Ok(answer) => answers += usize::from(answer.is_success()),
            Err(failure) => assert!(matches!(failure, Failure::Broken(Fault::Closed, _))),
        }
    }
    assert!(answers >= 5, "{answers}");
    assert_eq!((receiver.connections(), receiver.requests()), (answers, answers));
}

#[tokio::test]
async fn garbage_is_not_http() {
    for garbage in
        ["SSH-2.0-OpenSSH_9.6\r\n", "220 mail ESMTP\r\n", "\0\0\0\0\0", "HTTP/1.1 OK 200\r\n\r\n"]
    {
        let receiver = Receiver::saying(garbage).await;
        assert_eq!(fault(&receiver).await, Fault::NotHttp, "{garbage:?}");
    }
}

#[tokio::test]
async fn a_hundred_thousand_headers_are_too_many() {
    let headers: String = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let receiver = Receiver::saying(format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).await;
    assert_eq!(fault(&receiver).await, Fault::HeadTooLarge);
}

#[tokio::test]
async fn a_header_of_a_megabyte_is_too_large() {
    let header = "y".repeat(1 << 20);
    let receiver = Receiver::saying(format!("HTTP/1.1 200 OK\r\nx: {header}\r\n\r\n")).await;
    assert_eq!(fault(&receiver).await, Fault::HeadTooLarge);
}

#[tokio::test]
async fn where_nobody_listens_the_sentence_names_no_address() {
    let receiver = Receiver::saying(OK).await;
    let egress = development();
    let target = egress.check_url("http://127.0.0.77:9/").unwrap_err();
    assert!(target.to_string().contains("Port 9"));
    let url = format!("http://127.0.0.77:{}/", receiver.address.port());
    let failure = egress.send(Request::post(egress.check_url(&url).unwrap(), "")).await;
    let failure = failure.unwrap_err();
    assert!(matches!(failure, Failure::Connect(_)), "{failure:?}");
    assert!(!failure.to_string().contains("127."), "{failure}");
    assert!(!failure.may_have_arrived());
    assert!(std::error::Error::source(&failure).is_some(), "the operator learns the cause");
}
