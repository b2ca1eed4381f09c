//! Metrics of the whole application: where they are served, and that nothing of a customer's is in
//! them, nor in the log.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::life;
use crate::process::{Start, folder};

#[tokio::test]
async fn a_life_leaves_counts_and_no_trace_of_whose_it_was() {
    let app = life::app().await;
    let life = life::live(&app, "Canary").await;
    let credentials = |how| format!("freehold_credential_checks_total{{how=\"{how}\"}} ");
    let wanted = [
        "freehold_webhook_requests_total{outcome=\"delivered\"} 1\n".to_owned(),
        "kind=\"webhooks.deliver\",end=\"done\"} 1\n".to_owned(),
        credentials("remembered"),
        credentials("verified"),
        "route=\"/api/v1/webhooks/{id}/deliveries\"".to_owned(),
    ];
    let deadline = Instant::now() + Duration::from_secs(10);
    let text = loop {
        let text = app.kernel().scrape().await.unwrap();
        if wanted.iter().all(|series| text.contains(series)) {
            break text;
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let ids = [
        life.tenant.id.to_string(),
        life.tenant.owner.to_string(),
        life.api_key,
        life.webhook,
        life.delivery,
        life.portal_link,
        life.replay,
        life.event_type,
        life.service_account,
    ];
    for canary in ids.iter().map(String::as_str).chain(["anary", "@", "http://", "order"]) {
        assert!(!text.contains(canary), "{canary} is in\n{text}");
    }
}

#[test]
fn metrics_are_served_on_a_socket_of_their_own() {
    let folder = folder();
    let data = folder.path().join("data");
    let environment = &[("FREEHOLD_METRICS", "127.0.0.1:0")];
    let running = Start { environment, ..Start::in_folder(&data) }.run();
    let line = running.said.lines().find_map(|line| line.strip_prefix("Metrics are at "));
    let text = get(line.unwrap());
    assert!(text.contains("freehold_build{version="), "{text}");
    assert!(
        get(&format!("{}/metrics", running.url)).contains("core.not_found"),
        "not with the API"
    );
    assert!(running.stop().success());
}

#[test]
fn an_address_that_somebody_wants_and_cannot_have_is_said_before_anything_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder();
    let data = folder.path().join("data");
    let environment = &[("FREEHOLD_METRICS", address.as_str())];
    let refused = Start { environment, ..Start::in_folder(&data) }.command().output().unwrap();
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint.contains(&address) && complaint.contains("FREEHOLD_METRICS"), "{complaint}");
    assert!(!data.exists(), "nothing was made");
}

#[test]
fn a_default_address_that_is_taken_or_off_does_not_keep_it_from_starting() {
    // Taken by us, or by whoever has it already.
    let _taken = TcpListener::bind("127.0.0.1:9464");
    let folder = folder();
    let first = folder.path().join("first");
    let running = Start::in_folder(&first).run();
    assert!(running.said.contains("No metrics: 127.0.0.1:9464"), "{}", running.said);
    let second = folder.path().join("second");
    let environment = &[("FREEHOLD_METRICS", "off")];
    let silent = Start { environment, ..Start::in_folder(&second) }.run();
    assert!(!silent.said.contains("etrics"), "{}", silent.said);
}

fn get(url: &str) -> String {
    let ran = std::process::Command::new("curl").args(["-s", url]).output().unwrap();
    String::from_utf8(ran.stdout).unwrap()
}
