//! A DNS server over UDP that answers what a test wants, a different thing each time if need be.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use freehold_egress::{Egress, IpNet, Limits, Options, Policy};
use tokio::net::UdpSocket;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

#[derive(Clone, Debug)]
pub(crate) enum Record {
    A(&'static str),
    Aaaa(&'static str),
    /// What follows belongs to this name.
    Cname(&'static str),
}

/// What a name (`*` for all that come after) has: a list of records per query of a type, the last one for all further queries.
pub(crate) type Zone = Vec<(&'static str, Vec<Vec<Record>>)>;

pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<HashMap<(String, u16), usize>>>,
}

impl NameServer {
    pub(crate) async fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let counting = asked.clone();
        tokio::spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
                let answer = answer(&packet[..length], &zone, &counting);
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
        Self { address, asked }
    }

    /// How often the IPv4 addresses of `name` were asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(&(name.to_owned(), A)).copied().unwrap_or_default()
    }

    /// A client that asks this server, remembers nothing, and may reach `allowed` over plain HTTP.
    pub(crate) fn client(&self, allowed: &[&str]) -> Egress {
        let dns_ttl = (Duration::ZERO, Duration::ZERO);
        self.client_with(allowed, Limits { dns_ttl, ..Limits::default() })
    }

    pub(crate) fn client_with(&self, allowed: &[&str], limits: Limits) -> Egress {
        let allowed: Vec<IpNet> = allowed.iter().map(|net| net.parse().unwrap()).collect();
        let policy = Policy { plain_http: true, loopback: false, allowed };
        let name_servers = vec![self.address];
        Egress::new(Options { policy, limits, name_servers, ..Options::default() }).unwrap()
    }
}

fn answer(query: &[u8], zone: &Zone, asked: &Mutex<HashMap<(String, u16), usize>>) -> Vec<u8> {
    let (name, kind, end) = question(query);
    let times = {
        let mut asked = asked.lock().unwrap();
        let times = asked.entry((name.clone(), kind)).or_default();
        *times += 1;
        *times
    };
    let known = zone.iter().find(|(known, _)| *known == name || *known == "*");
    let records = known.map_or(&[][..], |(_, answers)| &answers[times.min(answers.len()) - 1]);
    let mut written = (0_u16, Vec::new());
    let mut owner = encoded(&name);
    for record in records {
        let (of, data) = match record {
            Record::A(v4) => (A, v4.parse::<Ipv4Addr>().unwrap().octets().to_vec()),
            Record::Aaaa(v6) => (AAAA, v6.parse::<Ipv6Addr>().unwrap().octets().to_vec()),
            Record::Cname(target) => (CNAME, encoded(target)),
        };
        if of == kind || of == CNAME {
            let length = u16::try_from(data.len()).unwrap();
            written.0 += 1;
            written.1.extend_from_slice(&owner);
            written.1.extend_from_slice(&of.to_be_bytes());
            written.1.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            written.1.extend_from_slice(&length.to_be_bytes());
            written.1.extend_from_slice(&data);
        }
        if of == CNAME {
            owner = data;
        }
    }
    let code = if known.is_some() { 0 } else { 3 };
    let [high, low] = written.0.to_be_bytes();
    let mut packet = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, high, low, 0, 0, 0, 0];
    packet.extend_from_slice(&query[12..end]);
    packet.extend_from_slice(&written.1);
    packet
}

/// The name and the type asked for, and where the question ends.
fn question(query: &[u8]) -> (String, u16, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let next = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..next].to_vec()).unwrap().to_lowercase());
        at = next;
    }
    (labels.join("."), u16::from_be_bytes([query[at + 1], query[at + 2]]), at + 5)
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).unwrap();
        std::iter::once(length).chain(label.bytes())
    });
    labels.chain([0]).collect()
}
