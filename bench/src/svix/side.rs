//! One of the two that are compared: where its events go, and what a load of them is.

use std::path::PathBuf;

use anyhow::Result;
use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::load::{Http, Load};
use crate::open_loop::Letter;

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Freehold,
    Svix,
}

impl Whose {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Freehold => "Freehold",
            Self::Svix => "svix-server",
        }
    }
}

/// Where one customer's events are posted, and what proves who sends them.
pub(crate) struct Customer {
    pub(crate) path: String,
    pub(crate) token: String,
}

/// A server with customers, each of whom has one webhook at the receiver.
pub(crate) struct Side {
    pub(crate) whose: Whose,
    /// `http://127.0.0.1:<port>`
    pub(crate) base: String,
    /// Where the superuser reads its database.
    pub(crate) database: String,
    pub(crate) pid: u32,
    pub(crate) customers: Vec<Customer>,
    /// The body of one event, before and after the id of an order.
    pub(crate) body: (String, String),
}

impl Side {
    /// wrk's requests, from all customers in turn; their list goes to this file.
    pub(crate) fn load(&self, targets: PathBuf) -> Result<Load> {
        let line = |customer: &Customer| format!("{} {}\n", customer.path, customer.token);
        std::fs::write(&targets, self.customers.iter().map(line).collect::<String>())?;
        let (base, body) = (self.base.clone(), Some(self.body.clone()));
        Ok(Load::Http(Http { base, method: "POST", targets, body }))
    }

    /// One event of each customer.
    pub(crate) fn letters(&self) -> Result<Vec<Letter>> {
        let body = Bytes::from(format!("{}A-1001{}", self.body.0, self.body.1));
        let letter = |customer: &Customer| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {}", customer.token).parse()?);
            let uri = format!("{}{}", self.base, customer.path).parse()?;
            Ok(Letter { uri, headers, body: body.clone() })
        };
        self.customers.iter().map(letter).collect()
    }
}
