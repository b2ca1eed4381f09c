//! What there is to try on a route: the other tenant's ids, words, cursors and keys in the path, the
//! query, the body and the headers.

use freehold_kernel::{Id, Named};
use serde_json::Value;

use super::described::{Described, Segment};
use super::{Cast, Side};
use crate::{Request, Result, Wire};

/// One request, and another that asks the same about nothing.
pub(super) struct Attack {
    /// The route.
    pub(super) route: String,
    /// Where the other tenant's thing stands, for a person.
    pub(super) place: String,
    pub(super) request: Request,
    pub(super) twin: Option<Request>,
    /// What the request says and the twin does not, and what the twin says instead: pairs.
    pub(super) differ: Vec<(String, String)>,
    /// Whether success itself means that the other's thing was reached.
    pub(super) must_fail: bool,
    /// Whether the answer may show what callers have asked earlier.
    pub(super) repeats: bool,
    /// Whether whoever belongs to the own tenant must still be known.
    pub(super) is_known: bool,
}

/// Cursors of lists.
pub(super) struct Cursors {
    /// Path and cursor, of the other tenant.
    others: Vec<(String, String)>,
    /// Path and cursor, of the own tenant.
    own: Vec<(String, String)>,
}

impl Cursors {
    /// Asks each list that takes no ids for its first page of one.
    pub(super) async fn read(wire: &Wire, routes: &[Described], cast: &Cast) -> Result<Self> {
        let mut cursors = Self { others: Vec::new(), own: Vec::new() };
        for route in routes.iter().filter(|route| route.query.iter().any(|name| name == "cursor")) {
            for (side, found) in [(&cast.other, &mut cursors.others), (&cast.own, &mut cursors.own)]
            {
                let path = route.path_with(|segment| value_of(segment, side));
                let path = format!("{path}?limit=1");
                let answer = wire.send(&Request::new("GET", &path).by(&side.credential)).await?;
                if let Some(cursor) = answer.json()["nextCursor"].as_str() {
                    found.push((route.path.clone(), cursor.to_owned()));
                }
            }
        }
        Ok(cursors)
    }
}

/// Everything there is to try on a route.
pub(super) fn on(route: &Described, cast: &Cast, cursors: &Cursors) -> Vec<Attack> {
    let mut attacks = in_path(route, cast);
    attacks.extend(in_query(route, cast));
    attacks.extend(in_cursors(route, cast, cursors));
    attacks.extend(in_body(route, cast));
    attacks.extend(in_headers(route, cast));
    attacks
}

/// Each parameter of the path: the other's thing of the right kind, and its things of all others.
fn in_path(route: &Described, cast: &Cast) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for (index, segment) in route.segments.iter().enumerate() {
        let own_prefix = segment.prefix.as_deref().unwrap_or_default();
        for theirs in cast.other.ids.iter().chain([&cast.other.slug]) {
            let right = theirs.split('_').next() == Some(own_prefix);
            let nothing = nothing_like(theirs);
            let path = |value: &str| {
                route.path_with(|one| {
                    let before = route.segments.iter().position(|known| known.name == one.name);
                    if before == Some(index) {
                        value.to_owned()
                    } else if before < Some(index) {
                        value_of(one, &cast.own)
                    } else {
                        value_of(one, &cast.other)
                    }
                })
            };
            let request = |value: &str| with_body(Request::new(&route.method, &path(value)), route);
            let kind = if right { "of the right kind" } else { "of another kind" };
            attacks.push(Attack {
                route: route.name.clone(),
                place: format!("{{{}}} of the path, {kind}", segment.name),
                twin: right.then(|| request(&nothing)),
                request: request(theirs),
                differ: vec![(theirs.clone(), nothing)],
                must_fail: true,
                repeats: route.repeats,
                is_known: route.risk() == 0,
            });
        }
    }
    attacks
}

/// Each documented parameter of the query, and one that no route has.
fn in_query(route: &Described, cast: &Cast) -> Vec<Attack> {
    let mut attacks = Vec::new();
    // What a writing route does with its own ids is not to be done again and again.
    if route.method != "GET" && !route.segments.is_empty() {
        return attacks;
    }
    let names = route.query.iter().map(String::as_str).filter(|name| *name != "cursor");
    for name in names.chain(["tenantId"]) {
        let given = cast.other.ids.iter().chain([&cast.other.slug]).chain(&cast.other.words);
        // Of a parameter that no route has, one value tells as much as all.
        let some = if name == "tenantId" { 1 } else { usize::MAX };
        for theirs in given.take(some) {
            let nothing = nothing_like(theirs);
            let path = route.path_with(|segment| value_of(segment, &cast.own));
            let request = |value: &str| {
                let value = escaped(value);
                with_body(Request::new(&route.method, &format!("{path}?{name}={value}")), route)
            };
            attacks.push(Attack {
                route: route.name.clone(),
                place: format!("?{name}="),
                twin: (route.method == "GET").then(|| request(&nothing)),
                request: request(theirs),
                differ: vec![(theirs.clone(), nothing)],
                must_fail: false,
                repeats: route.repeats,
                is_known: route.risk() == 0,
            });
        }
    }
    attacks
}

/// Cursors of the other tenant, and of one's own on other lists.
fn in_cursors(route: &Described, cast: &Cast, cursors: &Cursors) -> Vec<Attack> {
    if !route.query.iter().any(|name| name == "cursor") {
        return Vec::new();
    }
    let path = route.path_with(|segment| value_of(segment, &cast.own));
    let own = cursors.own.iter().filter(|(list, _)| *list != route.path);
    let attack = |whose: &str, list: &str, cursor: &String| {
        let broken: String = cursor.chars().rev().collect();
        let request =
            |cursor: &str| Request::new(&route.method, &format!("{path}?cursor={cursor}"));
        Attack {
            route: route.name.clone(),
            place: format!("?cursor= {whose} of {list}"),
            request: request(cursor),
            twin: Some(request(&broken)),
            differ: vec![(cursor.clone(), broken)],
            must_fail: true,
            repeats: route.repeats,
            is_known: route.risk() == 0,
        }
    };
    let others = cursors.others.iter().map(|(list, cursor)| attack("the other's", list, cursor));
    others.chain(own.map(|(list, cursor)| attack("one's own", list, cursor))).collect()
}

/// Each id in the body, and fields that the body does not have.
fn in_body(route: &Described, cast: &Cast) -> Vec<Attack> {
    let Some(body) = &route.body else { return Vec::new() };
    let path = route.path_with(|segment| value_of(segment, &cast.own));
    let request = |body: Value| Request::new(&route.method, &path).json(body);
    let mut attacks = Vec::new();
    for pointer in ids_in(body, "") {
        for theirs in &cast.other.ids {
            let nothing = nothing_like(theirs);
            let body = |value: &str| {
                let mut body = body.clone();
                if let Some(place) = body.pointer_mut(&pointer) {
                    *place = value.into();
                }
                body
            };
            attacks.push(Attack {
                route: route.name.clone(),
                place: format!("{pointer} of the body"),
                request: request(body(theirs)),
                twin: Some(request(body(&nothing))),
                differ: vec![(theirs.clone(), nothing)],
                must_fail: true,
                repeats: route.repeats,
                is_known: route.risk() == 0,
            });
        }
    }
    for (name, theirs) in smuggled(&cast.other) {
        let Value::Object(mut fields) = body.clone() else { continue };
        if fields.insert(name.to_owned(), theirs.into()).is_some() {
            continue;
        }
        attacks.push(Attack {
            route: route.name.clone(),
            place: format!("a field {name} of the body"),
            request: request(fields.into()),
            twin: None,
            differ: Vec::new(),
            must_fail: true,
            repeats: route.repeats,
            is_known: route.risk() == 0,
        });
    }
    attacks
}

/// Fields that other systems read.
fn smuggled(other: &Side) -> [(&'static str, String); 4] {
    let tenant = other.tenant.to_string();
    [
        ("tenantId", tenant.clone()),
        ("tenant_id", other.tenant.uuid().to_string()),
        ("tenant", other.slug.clone()),
        ("tid", tenant),
    ]
}

/// Headers that name the other tenant, on top of its things.
fn in_headers(route: &Described, cast: &Cast) -> Vec<Attack> {
    let other = &cast.other;
    let tenant = other.tenant.to_string();
    let path = route.path_with(|segment| value_of(segment, other));
    let mut headers = vec![
        ("Freehold-Tenant", tenant.clone()),
        ("X-Tenant-Id", other.tenant.uuid().to_string()),
        ("Host", format!("{}.example.org", other.slug)),
        ("X-Forwarded-Host", format!("{}.example.org", other.slug)),
        ("X-Original-URL", path.clone()),
        ("Cookie", format!("tenant={tenant}; tid={tenant}")),
        ("If-Match", "\"1\"".to_owned()),
        ("X-Request-Id", tenant.clone()),
        ("traceparent", format!("00-{}-00f067aa0ba902b7-01", other.tenant.uuid().simple())),
        ("Freehold-Reason", format!("for {tenant}")),
        ("Prefer", format!("tenant={tenant}")),
    ];
    headers.extend(other.idempotency_keys.iter().map(|key| ("Idempotency-Key", key.clone())));
    let attack = |(name, value): (&str, String)| Attack {
        route: route.name.clone(),
        place: format!("the header {name}"),
        request: with_body(Request::new(&route.method, &path).header(name, &value), route),
        twin: None,
        differ: Vec::new(),
        must_fail: !route.segments.is_empty(),
        repeats: route.repeats,
        is_known: route.risk() == 0,
    };
    headers.into_iter().map(attack).collect()
}

/// The value of a parameter of the path: a thing of one side.
fn value_of(segment: &Segment, side: &Side) -> String {
    let Some(prefix) = &segment.prefix else { return side.segment(&segment.name) };
    side.id(prefix).map_or_else(|| nothing_like(&format!("{prefix}_")), ToOwned::to_owned)
}

fn with_body(request: Request, route: &Described) -> Request {
    match &route.body {
        Some(body) => request.json(body.clone()),
        None => request,
    }
}

/// A new id of the same kind, or a word of the same length, which names nothing.
pub(super) fn nothing_like(theirs: &str) -> String {
    enum Nothing {}
    impl Named for Nothing {
        const PREFIX: &'static str = "zzz";
    }
    let new = Id::<Nothing>::new().to_string();
    match theirs.split_once('_') {
        Some((prefix, _)) if prefix.len() == 3 => new.replace("zzz", prefix),
        _ => {
            // The end of an id is what differs most from the next one.
            let letters = new.chars().rev().cycle().filter(char::is_ascii_alphanumeric);
            let mut letters = letters;
            theirs
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { letters.next().unwrap_or(c) } else { c })
                .collect()
        }
    }
}

/// Where ids stand in a body, as JSON Pointers.
fn ids_in(body: &Value, pointer: &str) -> Vec<String> {
    match body {
        Value::String(text) if is_id(text) => vec![pointer.to_owned()],
        Value::Array(values) => values
            .iter()
            .enumerate()
            .flat_map(|(index, value)| ids_in(value, &format!("{pointer}/{index}")))
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| ids_in(value, &format!("{pointer}/{name}")))
            .collect(),
        _ => Vec::new(),
    }
}

fn is_id(text: &str) -> bool {
    text.split_once('_').is_some_and(|(prefix, rest)| prefix.len() == 3 && rest.len() == 26)
}

fn escaped(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
