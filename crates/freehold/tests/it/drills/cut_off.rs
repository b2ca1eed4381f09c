//! A node that cannot reach the database for longer than it looks back: what changed meanwhile
//! holds on it as soon as it can.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use super::installation::{Installation, addresses, http, register};
use super::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_cut_off_knows_what_was_revoked_meanwhile() {
    Box::pin(cut_off_for(Duration::from_secs(3))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make check-long"]
async fn long_a_node_that_was_cut_off_for_minutes_knows_what_was_revoked_meanwhile() {
    Box::pin(cut_off_for(Duration::from_secs(130))).await;
}

async fn cut_off_for(duration: Duration) {
    let installation = Installation::new();
    let [reached, cut_off] = addresses();
    let (network, between) = wire(&installation).await;
    let login = |role| format!("postgres://{role}@{between}/postgres?sslmode=disable");
    let (app, system) = (login("freehold_app"), login("freehold_system"));
    let by_wire = [("DATABASE_URL", app.as_str()), ("DATABASE_SYSTEM_URL", system.as_str())];
    let nodes = [installation.serve(reached, &[]), installation.serve(cut_off, &by_wire)];
    let token = register(reached, "ada").await;
    let ask = async |address: SocketAddr| {
        let asked = http().get(format!("http://{address}/api/v1/auth/me")).bearer_auth(&token);
        asked.send().await.unwrap().status()
    };
    assert_eq!(ask(cut_off).await, StatusCode::OK, "it remembers the token");

    network.send(false).unwrap();
    let ready = format!("http://{cut_off}/health/ready");
    until("it to notice", Duration::from_secs(10), async || {
        !http().get(&ready).send().await.unwrap().status().is_success()
    })
    .await;
    let url = format!("http://{reached}/api/v1/auth/logout");
    assert!(http().post(url).bearer_auth(&token).send().await.unwrap().status().is_success());
    tokio::time::sleep(duration).await;
    network.send(true).unwrap();
    until("it to be back", Duration::from_secs(30), async || {
        http().get(&ready).send().await.unwrap().status().is_success()
    })
    .await;
    let took = until("the token to be refused", Duration::from_secs(3), async || {
        ask(cut_off).await == StatusCode::UNAUTHORIZED
    })
    .await;
    eprintln!("it refused the token {took:.0?} after it was back");
    nodes.into_iter().for_each(crate::nodes::Node::stop);
}

/// A network between a node and the socket of the database, which can be cut.
async fn wire(installation: &Installation) -> (watch::Sender<bool>, SocketAddr) {
    let (sender, up) = watch::channel(true);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = installation.socket();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, socket.clone(), up.clone()));
        }
    });
    (sender, address)
}

async fn pass_on(mut client: TcpStream, socket: std::path::PathBuf, mut up: watch::Receiver<bool>) {
    if !*up.borrow() {
        return;
    }
    let Ok(mut server) = UnixStream::connect(socket).await else { return };
    tokio::select! {
        // Either end may go at any time.
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = up.wait_for(|up| !up) => {}
    }
}
