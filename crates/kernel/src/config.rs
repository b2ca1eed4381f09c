//! What the kernel needs to know to run. The binary reads flags, environment and `freehold.toml`
//! into this; nothing below it reads the environment.

use std::net::IpAddr;
use std::time::Duration;

use crate::limits::Quota;
use crate::time::Clock;

/// The kernel's configuration.
#[derive(Clone)]
pub struct Config {
    /// Login `freehold_app`: serves every request and job.
    pub database_url: String,
    /// Login `freehold_system`: start-up, sign-in, operators, the kernel's own work.
    pub database_system_url: String,
    /// The same past a pooler, for what needs a session of its own: LISTEN (`DATABASE_DIRECT_URL`).
    pub database_direct_url: Option<String>,
    /// Whether a pooler in transaction mode stands between (`DATABASE_POOLER=transaction`).
    pub pooler: Pooler,
    /// Connections for requests.
    pub pool_size: u32,
    /// `scheme://host[:port]` under which people reach this installation; no trailing slash.
    pub public_url: String,
    /// Origins that browsers may call from, beside our own.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// At least 32 bytes; everything sealed is sealed under it.
    pub secret_key: Vec<u8>,
    /// Earlier secrets, newest first, that may still open.
    pub secret_key_previous: Vec<Vec<u8>>,
    /// What this node does.
    pub duties: Duties,
    /// Where time comes from.
    pub clock: Clock,
    /// Bounds on requests and on the past.
    pub limits: Limits,
}

/// What a node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duties {
    /// Answers requests and works on jobs.
    #[default]
    Everything,
    /// Answers requests; what they leave to do, other nodes do.
    Requests,
    /// Works on events, jobs and schedules, and answers nobody.
    Work,
}

impl Duties {
    /// Whether the node works on events, jobs and schedules.
    pub(crate) fn works(self) -> bool {
        self != Self::Requests
    }
}

/// How many jobs of each lane a node works on at once. A tenant has a quarter of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// What somebody waits for.
    pub transactional: usize,
    /// The ordinary.
    pub standard: usize,
    /// Much of it, whenever.
    pub bulk: usize,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { transactional: 128, standard: 512, bulk: 64 }
    }
}

impl Lanes {
    /// In the order of the lanes.
    pub(crate) fn places(&self) -> [usize; 3] {
        [self.transactional, self.standard, self.bulk]
    }
}

/// What stands between us and PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing, or a pooler that keeps sessions.
    #[default]
    None,
    /// One that hands a server connection to each transaction; statements must not be named.
    Transaction,
}

/// Bounds on requests, and on how long the past is kept.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest JSON body, in bytes.
    pub body_bytes: usize,
    /// Largest sum of header names and values, in bytes.
    pub header_bytes: usize,
    /// Deepest nesting of JSON.
    pub json_depth: usize,
    /// Time to send the whole body.
    pub body_timeout: Duration,
    /// Time to answer, from the end of the body.
    pub request_timeout: Duration,
    /// Requests from one address, signed in or not.
    pub per_ip: Quota,
    /// Requests of one tenant on one node.
    pub per_tenant: Quota,
    /// Time at shutdown in which connections are still taken, so that load balancers may notice;
    /// a part of the grace.
    pub drain: Duration,
    /// Time that requests under way are given at shutdown.
    pub shutdown_grace: Duration,
    /// Months that events, and with them the audit log, are kept.
    pub events_kept_months: u32,
    /// How many jobs a node works on at once.
    pub lanes: Lanes,
    /// How long jobs that are done can be looked at.
    pub done_jobs_kept: Duration,
    /// How long jobs that were given up can be looked at and run again.
    pub failed_jobs_kept: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1024 * 1024,
            header_bytes: 16 * 1024,
            json_depth: 64,
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            per_ip: Quota::per_minute(6_000, 1_000),
            per_tenant: Quota::per_minute(60_000, 5_000),
            drain: Duration::ZERO,
            shutdown_grace: Duration::from_secs(25),
            // As long as laws commonly ask for records of a business.
            events_kept_months: 84,
            lanes: Lanes::default(),
            done_jobs_kept: Duration::from_secs(24 * 60 * 60),
            failed_jobs_kept: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}
