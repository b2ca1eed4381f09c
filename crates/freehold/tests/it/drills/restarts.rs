//! A release: every node is stopped and started anew while requests come in.

use std::time::Duration;

use super::balancer::Balancer;
use super::installation::{Installation, addresses, register};
use super::load::{Failed, Load};
use super::until;
use crate::nodes::Node;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_every_node_is_restarted() {
    Box::pin(restart_every_node(1, "1")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make check-long"]
async fn long_no_request_fails_in_five_rolling_restarts_as_they_come() {
    // As `serve` is when nobody sets it.
    Box::pin(restart_every_node(5, "5")).await;
}

async fn restart_every_node(rounds: usize, drain_seconds: &str) {
    let installation = Installation::new();
    let drain = [("FREEHOLD_LIMIT_DRAIN_SECONDS", drain_seconds)];
    let addresses = addresses::<3>();
    let mut nodes = addresses.map(|address| installation.serve(address, &drain));
    let token = register(addresses[0], "ada").await;
    let balancer = Balancer::before(&addresses);
    let load = Load::on(&balancer, &token, Failed::Noted);
    for _ in 0..rounds {
        for (node, address) in nodes.iter_mut().zip(addresses) {
            load.acknowledges_more(20).await;
            node.ask_to_stop();
            until("the balancer to notice", Duration::from_secs(20), async || {
                !balancer.uses(address)
            })
            .await;
            load.acknowledges_more(20).await;
            tokio::task::block_in_place(|| node.wait_for_a_good_end());
            *node = installation.serve(address, &drain);
            until("the balancer to come back", Duration::from_secs(20), async || {
                balancer.uses(address)
            })
            .await;
        }
    }
    load.acknowledges_more(20).await;
    let done = load.end().await;
    done.verify(&installation.sql()).await;
    eprintln!(
        "{} restarts: {} changes and {} reads, none failed; {:.0?} the longest wait",
        3 * rounds,
        done.acknowledged.len(),
        done.reads,
        done.longest_gap
    );
    nodes.into_iter().for_each(Node::stop);
}
