//! Where to listen: found free before anything else is touched, and named when it is taken.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use anyhow::anyhow;

/// How far to look for a port to propose.
const NEIGHBOURS: u16 = 20;

/// Makes sure that we may listen there; port 0 becomes a free port. The socket is closed again, so
/// that nobody's connection waits while the database starts.
pub(super) fn settle(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(wanted).map_err(|error| refusal(wanted, &error))?;
    Ok(listener.local_addr()?)
}

/// Says why we cannot listen there, and what to type instead.
pub(super) fn refusal(wanted: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let elsewhere = |port: u16| SocketAddr::new(wanted.ip(), port);
    match error.kind() {
        ErrorKind::AddrInUse => {
            let free = (1..=NEIGHBOURS)
                .filter_map(|step| wanted.port().checked_add(step))
                .find(|port| TcpListener::bind(elsewhere(*port)).is_ok())
                .unwrap_or(0);
            anyhow!("{wanted} is taken; take another one: --listen {}", elsewhere(free))
        }
        ErrorKind::PermissionDenied => anyhow!(
            "this user may not listen on {wanted}: ports below 1024 are root's; take another one: \
             --listen {}",
            elsewhere(3000)
        ),
        ErrorKind::AddrNotAvailable => anyhow!(
            "{} is no address of this computer; take one that is: --listen 127.0.0.1:{}",
            wanted.ip(),
            wanted.port()
        ),
        _ => anyhow!("cannot listen on {wanted}: {error}. Name another address with --listen."),
    }
}
