//! The disk of the database runs full: changes are refused in clear words, nothing that was
//! acknowledged is lost, and room is all that is needed for everything to go on.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::balancer::Balancer;
use super::installation::{Installation, addresses, register};
use super::load::{Failed, Load};
use super::until;
use crate::process::folder;

const SIZE: &str = "size=192m,mode=0755";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_changes_loses_none_and_recovers_with_room() {
    let folder = folder();
    let Some(disk) = Disk::mount(folder.path().join("disk")) else {
        eprintln!("SKIPPED: a small disk cannot be mounted here; run this as root");
        return;
    };
    let mut installation = Installation::in_folder(disk.0.join("postgres"), folder);
    let [address] = addresses();
    let mut node = installation.serve(address, &[]);
    let token = register(address, "ada").await;
    let balancer = Balancer::before(&[address]);
    let load = Load::on(&balancer, &token, Failed::TriedAgain);
    load.acknowledges_more(50).await;

    tokio::task::block_in_place(|| disk.fill());
    let refusal = refused(&balancer, &token).await;
    eprintln!("refused with {refusal}");
    let read = balancer.send(&Method::GET, "/tenant", &token, None, None).await;
    let (status, body) = read.unwrap();
    let fits = [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
    assert!(fits, "{status}: {body}");

    disk.make_room();
    let went = installation.start_database_if_it_went().await;
    if went {
        eprintln!("PostgreSQL had given up and was started again");
    }
    let recovered = load.acknowledges_more(1).await;
    eprintln!("{recovered:.0?} from room on the disk to the next change");
    load.acknowledges_more(50).await;
    let done = load.end().await;
    assert!(done.refused > 0);
    done.verify(&installation.sql()).await;
    assert!(node.lives(), "nobody restarted it");
    node.stop();
    tokio::task::block_in_place(|| installation.stop_database());
}

/// Changes until one is refused; answers how.
async fn refused(balancer: &Balancer, token: &str) -> String {
    let mut said = String::new();
    until("a change to be refused", Duration::from_secs(60), async || {
        let body = json!({"name": "x".repeat(100)});
        let sent = balancer.send(&Method::POST, "/api-keys", token, None, Some(&body)).await;
        let Ok((status, text)) = sent else { return false };
        if status == StatusCode::CREATED {
            return false;
        }
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
        said = serde_json::from_str::<serde_json::Value>(&text).unwrap()["code"].to_string();
        true
    })
    .await;
    said
}

/// A small disk; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "freehold-drill"]).arg(&path);
        let mounted = mount.stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(path))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        // The last pages, too.
        for size in [1 << 20, 4096] {
            loop {
                match file.write(&vec![0; size]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        // Lazily: something may still be on its way out.
        let _ = Command::new("umount").arg("-l").arg(path).status();
    }
}
