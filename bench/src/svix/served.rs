//! Freehold in a process of its own, so that its memory and processor time are seen apart from the
//! load's: this program once more, as application.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::side::{Customer, Side, Whose};
use crate::application::Application;
use crate::customers::sign_up;
use crate::events;
use crate::place::{Place, Urls};
use crate::receiver::Receiver;
use crate::report::progress;
use crate::running::Running;

const DATABASE: &str = "beside_freehold";
const CREATE: &str = "create database beside_freehold";

/// What the process is told: one line on its standard input, which ends with us.
#[derive(Serialize, Deserialize)]
struct Order {
    urls: Urls,
    receiver_url: String,
    tenants: usize,
}

/// What it answers: one line on its standard output.
#[derive(Serialize, Deserialize)]
struct Open {
    base: String,
    keys: Vec<String>,
}

/// The process; dropped, it is killed.
pub(crate) struct Served(Running);

impl Served {
    /// Starts it on a database of its own and waits until its customers have their webhooks.
    pub(crate) async fn start(
        place: &Place,
        receiver: &Receiver,
        tenants: usize,
    ) -> Result<(Self, Side)> {
        let urls = place.database(DATABASE, CREATE).await?;
        let database = urls.superuser.clone();
        let order = Order { urls, receiver_url: receiver.url(), tenants };
        let child = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut served = Self(Running(child));
        let reading = ask(&mut served.0.0, &order)?;
        let line = tokio::task::spawn_blocking(reading).await??;
        let open: Open = serde_json::from_str(&line).context("Freehold did not start")?;
        let customer = |key| Customer { path: "/api/v1/events".to_owned(), token: key };
        let side = Side {
            whose: Whose::Freehold,
            base: open.base,
            database,
            pid: served.pid(),
            customers: open.keys.into_iter().map(customer).collect(),
            body: events::one(),
        };
        Ok((served, side))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.0.id()
    }
}

/// Says what to do; what it answers is to be waited for.
fn ask(child: &mut Child, order: &Order) -> Result<impl FnOnce() -> Result<String> + 'static> {
    let mut input = child.stdin.as_ref().context("no input")?;
    writeln!(input, "{}", serde_json::to_string(order)?)?;
    let output = child.stdout.take().context("no output")?;
    Ok(move || {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok(line)
    })
}

/// Serves until standard input ends: what `--serve` does.
pub(crate) fn serve() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let application = Application::start(&order.urls).await?;
        let customers = sign_up(&application, &order.receiver_url, order.tenants).await?;
        let keys = customers.into_iter().map(|customer| customer.key).collect();
        let open = Open { base: format!("http://{}", application.address), keys };
        let mut output = std::io::stdout();
        writeln!(output, "{}", serde_json::to_string(&open)?)?;
        output.flush()?;
        // Whatever it reads: when this returns, whoever started us is gone.
        let gone = || std::io::stdin().read_to_end(&mut Vec::new());
        if let Err(error) = tokio::task::spawn_blocking(gone).await? {
            progress(&format!("standard input: {error}"));
        }
        application.stop().await
    })
}
