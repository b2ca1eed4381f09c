//! The customer's server, in the process of the test: it outlives every kill.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use standardwebhooks::Webhook;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// What one endpoint may have in flight: a quarter of a node's 512.
const IN_FLIGHT_MAX: usize = 128;
/// How long after a kill the receiver may still be busy with what the process had sent.
const LATE: Duration = Duration::from_secs(1);

/// It writes down what it got before it answers.
pub(crate) struct Receiver {
    server: MockServer,
    notes: Arc<Notes>,
}

#[derive(Default)]
struct Notes {
    signed_by: OnceLock<Webhook>,
    received: Mutex<Vec<(String, Instant)>>,
    refusals: Mutex<Vec<String>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let server = MockServer::builder().disable_request_recording().start().await;
        let notes = Arc::new(Notes::default());
        let noting = notes.clone();
        let answer = move |request: &Request| noting.take(request);
        Mock::given(method("POST")).respond_with(answer).mount(&server).await;
        Self { server, notes }
    }

    pub(crate) fn url(&self) -> String {
        self.server.uri()
    }

    /// From now on, only what is signed with this is taken.
    pub(crate) fn trust(&self, secret: &str) {
        assert!(self.notes.signed_by.set(Webhook::new(secret).unwrap()).is_ok());
    }

    /// How many arrived, copies included.
    pub(crate) fn count(&self) -> usize {
        self.notes.received.lock().unwrap().len()
    }

    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.notes.received.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn refusals(&self) -> Vec<String> {
        self.notes.refusals.lock().unwrap().clone()
    }

    /// A copy comes only because a process did not live to write down that the one before arrived.
    pub(crate) fn check_copies(&self, killed_at: &[Instant]) {
        let mut arrivals = BTreeMap::<String, Vec<Instant>>::new();
        for (id, at) in self.notes.received.lock().unwrap().iter() {
            arrivals.entry(id.clone()).or_default().push(*at);
        }
        let mut copies = 0;
        for (id, times) in arrivals {
            for pair in times.windows(2) {
                let (before, after) = (pair[0], pair[1]);
                let between = |kill: &Instant| before <= *kill + LATE && *kill <= after;
                assert!(killed_at.iter().any(between), "{id} came twice without a kill between");
                copies += 1;
            }
        }
        eprintln!("{copies} copies after {} kills", killed_at.len());
        assert!(copies <= killed_at.len() * IN_FLIGHT_MAX, "{copies} copies");
    }
}

impl Notes {
    fn take(&self, request: &Request) -> ResponseTemplate {
        let id = request.headers.get("webhook-id").and_then(|id| id.to_str().ok());
        let verified = self.signed_by.get().unwrap().verify(&request.body, &request.headers);
        match (id, verified) {
            (Some(id), Ok(())) => {
                self.received.lock().unwrap().push((id.to_owned(), Instant::now()));
                ResponseTemplate::new(200)
            }
            (id, verified) => {
                self.refusals.lock().unwrap().push(format!("{id:?}: {verified:?}"));
                ResponseTemplate::new(400)
            }
        }
    }
}
