//! Everything that can be set, once: the command line, the environment, `freehold.toml`, the
//! documentation and `.env.example` are all made from this table.

use std::time::Duration;

/// One thing that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in the environment.
    pub variable: &'static str,
    /// Its key in `freehold.toml`; a dot means a section. `None`: the environment only.
    pub key: Option<&'static str>,
    /// Its flag of `freehold up`.
    pub flag: Option<Flag>,
    /// What holds when nobody sets it, in words where it is not a plain value.
    pub default: &'static str,
    /// What it does, in a sentence or two.
    pub meaning: &'static str,
}

/// How a setting looks on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without the two dashes.
    pub name: &'static str,
    /// What stands for the value in the help; `None`: a switch that says `false`.
    pub value: Option<&'static str>,
}

const fn of(
    variable: &'static str,
    key: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { variable, key: Some(key), flag: None, default, meaning }
}

const fn flag(name: &'static str, value: Option<&'static str>, setting: Setting) -> Setting {
    Setting { flag: Some(Flag { name, value }), ..setting }
}

/// Where the service listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:3000";
/// Where `freehold up` keeps everything unless told otherwise.
pub(super) const DEFAULT_DATA_DIR: &str = "./.freehold";
/// What is logged unless told otherwise: nothing, as long as all is well.
pub(super) const DEFAULT_LOG: &str = "warn";
/// Connections for requests. PostgreSQL's own default allows 100 to all its clients.
pub(super) const DEFAULT_POOL_SIZE: u32 = 32;

/// Where metrics are served unless told otherwise: the port that OpenTelemetry's exporters use.
pub(super) const DEFAULT_METRICS: &str = "127.0.0.1:9464";

/// How long a node that answers requests behind a load balancer waits for it to notice that the
/// node stops: two looks of most balancers.
pub(super) const DEFAULT_DRAIN: Duration = Duration::from_secs(5);

/// The share of traces that is sent unless told otherwise.
pub(super) const DEFAULT_SHARE: &str = "0.2";

/// The table.
pub const SETTINGS: &[Setting] = &[
    flag(
        "data-dir",
        Some("DIR"),
        of(
            "FREEHOLD_DATA_DIR",
            "data_dir",
            DEFAULT_DATA_DIR,
            "The folder of `freehold up`: its PostgreSQL, its secret key, its first credentials.",
        ),
    ),
    flag(
        "listen",
        Some("ADDR"),
        of(
            "FREEHOLD_LISTEN",
            "listen",
            DEFAULT_LISTEN,
            "Where to listen. `0.0.0.0:3000` lets other computers in; port 0 takes a free port.",
        ),
    ),
    Setting {
        variable: "PORT",
        key: None,
        flag: None,
        default: "3000",
        meaning: "The port alone, as hosting platforms set it. FREEHOLD_LISTEN and --listen win.",
    },
    flag(
        "no-demo",
        None,
        of(
            "FREEHOLD_DEMO",
            "demo",
            "true",
            "Whether the first start makes a demo tenant and a person who owns it.",
        ),
    ),
    of(
        "FREEHOLD_PUBLIC_URL",
        "public_url",
        "http://localhost and the port",
        "The URL under which people reach this installation: issuer of tokens, links, CORS.",
    ),
    of(
        "ALLOWED_ORIGINS",
        "allowed_origins",
        "the public URL only",
        "Origins whose pages may call the API from a browser, separated by commas.",
    ),
    of(
        "FREEHOLD_TRUSTED_PROXIES",
        "trusted_proxies",
        "no proxy",
        "Addresses of proxies whose X-Forwarded-For is believed, separated by commas.",
    ),
    of(
        "FREEHOLD_REGISTRATION",
        "registration",
        "open",
        "How people may join: `open` (at once) or `verified` (by a link sent to their address).",
    ),
    of(
        "FREEHOLD_SECRET_KEY",
        "secret_key",
        "made by `up`, kept in DIR/secret.key",
        "At least 32 bytes of text, taken as they are. Everything sealed is sealed under it: \
         keep a copy apart from the database.",
    ),
    of(
        "FREEHOLD_SECRET_KEY_PREVIOUS",
        "secret_key_previous",
        "no other key",
        "Earlier secret keys that may still open, newest first, separated by commas.",
    ),
    of(
        "FREEHOLD_EVENTS_KEPT_MONTHS",
        "events_kept_months",
        "84",
        "Months that events, and with them the audit log, are kept; at least 1. Older months are \
         dropped, and what they held is noted.",
    ),
    of(
        "FREEHOLD_WEBHOOK_BODIES_KEPT_DAYS",
        "webhook_bodies_kept_days",
        "30",
        "Days that the bodies of receivers' answers are kept in the log of deliveries; at least 1.",
    ),
    of(
        "FREEHOLD_EGRESS_ALLOWED_NETWORKS",
        "egress.allowed_networks",
        "none",
        "Networks beyond the public internet that webhooks may be sent to, as in \
         `10.20.0.0/16,10.1.2.3`, separated by commas. Clouds' metadata services stay refused.",
    ),
    of(
        "FREEHOLD_EGRESS_PLAIN_HTTP",
        "egress.plain_http",
        "false",
        "Whether webhooks may be sent over plain http. `freehold up` allows it, and this computer.",
    ),
    of(
        "FREEHOLD_LOG",
        "log.filter",
        DEFAULT_LOG,
        "What is logged to standard error, as in `info,freehold::request=debug` (a line a \
         request).",
    ),
    of(
        "FREEHOLD_LOG_FORMAT",
        "log.format",
        "text",
        "`text` for people, `json` for machines: one object a line.",
    ),
    of(
        "FREEHOLD_METRICS",
        "metrics",
        DEFAULT_METRICS,
        "Where `GET /metrics` answers: an address that nobody but your collector reaches, port 0 \
         for a free one, or `off`.",
    ),
    of(
        "FREEHOLD_OTLP_ENDPOINT",
        "traces.endpoint",
        "no traces",
        "Where traces go, in OTLP over HTTP, as in `http://localhost:4318`; /v1/traces is added.",
    ),
    of(
        "FREEHOLD_OTLP_SHARE",
        "traces.share",
        DEFAULT_SHARE,
        "The share (0 to 1) of traces that begin here and are sent. Those that a caller began \
         and marked as sampled are sent in any case.",
    ),
    of(
        "FREEHOLD_POSTGRES_BIN",
        "postgres_bin",
        "looked for",
        "The folder of PostgreSQL's programs (`postgres`, `initdb`), version 15 or newer.",
    ),
    of(
        "DATABASE_URL",
        "database.url",
        "a private PostgreSQL in DIR",
        "A PostgreSQL of your own, as the role `freehold_app`, which serves every request.",
    ),
    of(
        "DATABASE_SYSTEM_URL",
        "database.system_url",
        "as DATABASE_URL, role freehold_system",
        "The same database as the role `freehold_system`: sign-in, operators, our own work.",
    ),
    of(
        "DATABASE_OWNER_URL",
        "database.owner_url",
        "not set",
        "The same database as an administrator who may make roles: `freehold migrate`. With it, \
         `freehold up` migrates DATABASE_URL by itself.",
    ),
    of(
        "DATABASE_POOLER",
        "database.pooler",
        "none",
        "`transaction` when a pooler such as PgBouncer in transaction mode stands between.",
    ),
    of(
        "DATABASE_DIRECT_URL",
        "database.direct_url",
        "not set",
        "The same database past the pooler, as the role `freehold_system`: by it a node hears of \
         other nodes' work at once.",
    ),
    of("FREEHOLD_POOL_SIZE", "database.pool_size", "32", "Connections for requests."),
    of(
        "FREEHOLD_LIMIT_PER_IP_PER_MINUTE",
        "limits.per_ip_per_minute",
        "6000",
        "Requests a minute from one address, signed in or not.",
    ),
    of(
        "FREEHOLD_LIMIT_PER_IP_BURST",
        "limits.per_ip_burst",
        "1000",
        "How many of them at once after a rest.",
    ),
    of(
        "FREEHOLD_LIMIT_PER_TENANT_PER_MINUTE",
        "limits.per_tenant_per_minute",
        "60000",
        "Requests a minute of one tenant on one node.",
    ),
    of(
        "FREEHOLD_LIMIT_PER_TENANT_BURST",
        "limits.per_tenant_burst",
        "5000",
        "How many of them at once after a rest.",
    ),
    of("FREEHOLD_LIMIT_BODY_BYTES", "limits.body_bytes", "1048576", "The largest JSON body."),
    of(
        "FREEHOLD_LIMIT_HEADER_BYTES",
        "limits.header_bytes",
        "16384",
        "The largest sum of header names and values.",
    ),
    of("FREEHOLD_LIMIT_JSON_DEPTH", "limits.json_depth", "64", "The deepest nesting of JSON."),
    of(
        "FREEHOLD_LIMIT_BODY_SECONDS",
        "limits.body_seconds",
        "30",
        "Time that a caller has to send the whole body.",
    ),
    of(
        "FREEHOLD_LIMIT_REQUEST_SECONDS",
        "limits.request_seconds",
        "30",
        "Time that an answer may take.",
    ),
    of(
        "FREEHOLD_LIMIT_DRAIN_SECONDS",
        "limits.drain_seconds",
        "5 for `serve`, else 0",
        "Time, when the service stops, in which it still takes connections while /health/ready \
         says 503: load balancers notice. A part of the time below.",
    ),
    of(
        "FREEHOLD_LIMIT_SHUTDOWN_SECONDS",
        "limits.shutdown_seconds",
        "25",
        "Time that requests under way are given when the service stops.",
    ),
    of(
        "FREEHOLD_LIMIT_JOBS_TRANSACTIONAL",
        "limits.jobs_transactional",
        "128",
        "Jobs that somebody waits for, on a node at once. A tenant has a quarter of them.",
    ),
    of(
        "FREEHOLD_LIMIT_JOBS_STANDARD",
        "limits.jobs_standard",
        "512",
        "Ordinary jobs on a node at once, deliveries of webhooks among them. Likewise.",
    ),
    of(
        "FREEHOLD_LIMIT_JOBS_BULK",
        "limits.jobs_bulk",
        "64",
        "Bulk jobs on a node at once. Likewise.",
    ),
    of(
        "FREEHOLD_LIMIT_JOBS_DONE_KEPT_SECONDS",
        "limits.jobs_done_kept_seconds",
        "86400",
        "How long jobs that are done can be looked at: so long at least, and until the day in UTC \
         is over.",
    ),
    of(
        "FREEHOLD_LIMIT_JOBS_FAILED_KEPT_SECONDS",
        "limits.jobs_failed_kept_seconds",
        "604800",
        "How long jobs that were given up can be looked at and run again.",
    ),
];
