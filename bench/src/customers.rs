//! Tenants whose own products send events, each with a key to send them under and one webhook.

use anyhow::{Context, Result, ensure};
use freehold_kernel::TenantId;
use reqwest::Client;
use serde_json::{Value, json};

use crate::application::{Application, Person};

/// Somebody who sends events and gets them back.
pub(crate) struct Customer {
    pub(crate) tenant: TenantId,
    /// An API key, which unlike a token does not run out.
    pub(crate) key: String,
}

/// Makes customers of the first people, whose webhooks go there.
pub(crate) async fn sign_up(
    application: &Application,
    receiver_url: &str,
    count: usize,
) -> Result<Vec<Customer>> {
    ensure!((1..=application.people.len()).contains(&count), "1 to {}", application.people.len());
    let base = format!("http://{}/api/v1", application.address);
    let client = Client::new();
    let mut customers = Vec::new();
    for person in &application.people[..count] {
        customers.push(key_of(&client, &base, person).await?);
        let webhook = json!({"url": receiver_url, "events": ["order.*"]});
        make(&client, &format!("{base}/webhooks"), person, &webhook).await?;
    }
    Ok(customers)
}

/// Makes a key to send events under.
pub(crate) async fn key_of(client: &Client, base: &str, person: &Person) -> Result<Customer> {
    let key = json!({"name": "shop", "scopes": ["events:write"]});
    let key = make(client, &format!("{base}/api-keys"), person, &key).await?;
    let key = key["secret"].as_str().context("a key without its secret")?.to_owned();
    Ok(Customer { tenant: person.tenant, key })
}

pub(crate) async fn make(
    client: &Client,
    url: &str,
    person: &Person,
    new: &Value,
) -> Result<Value> {
    let answer = client.post(url).bearer_auth(&person.token).json(new).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "POST {url} was answered {status}: {text}");
    Ok(serde_json::from_str(&text)?)
}
