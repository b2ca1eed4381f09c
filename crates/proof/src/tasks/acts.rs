//! What a task does in one transaction, and what it then knows to be so.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use freehold_kernel::{Error, Result, TenantId, Tx};
use futures_util::FutureExt;
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::{Method, StatusCode};
use uuid::Uuid;

use super::module::Written;
use super::rows::{self, Seen};
use super::{Party, Tally, cut};
use crate::Subject;

/// Handlers that wait hold a connection for as long as they may; where that is longer than this,
/// nobody waits.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// One of the tasks.
pub(super) struct Worker {
    pub(super) subject: Subject,
    pub(super) parties: Vec<Party>,
    pub(super) http: reqwest::Client,
    pub(super) rng: StdRng,
    pub(super) tally: Tally,
    /// The newest row of this task in each tenant.
    pub(super) newest: Vec<Option<Uuid>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Look,
    LookHalf,
    Write,
    Abandon,
    Fail,
    Exceed,
    Panic,
    Cut,
    CutCommit,
    LeaveBehind,
    AskLook,
    AskHalf,
    AskWrite,
    AskPanic,
    AskFail,
    AskExceed,
    AskWait,
    HangUp,
}

/// Each act, its name for people, and how often it is done for each thousand.
const ACTS: [(Act, &str, u32); 18] = [
    (Act::Look, "looks", 160),
    (Act::LookHalf, "looks that leave most of what they found unread", 50),
    (Act::Write, "writes", 160),
    (Act::Abandon, "writes dropped before their commit", 80),
    (Act::Fail, "statements that fail, and commits after them", 60),
    (Act::Exceed, "statements that run into their time limit", 20),
    (Act::Panic, "panics", 80),
    (Act::Cut, "transactions dropped at whatever they waited for", 110),
    (Act::CutCommit, "commits dropped at whatever they waited for", 60),
    (Act::LeaveBehind, "settings left behind for the session", 20),
    (Act::AskLook, "requests that read", 60),
    (Act::AskHalf, "requests that leave most of what they found unread", 20),
    (Act::AskWrite, "requests that write", 45),
    (Act::AskPanic, "requests whose handler panics", 20),
    (Act::AskFail, "requests whose statement fails", 10),
    (Act::AskExceed, "requests whose statement runs into its time limit", 5),
    (Act::AskWait, "requests whose handler runs into its time limit", 2),
    (Act::HangUp, "requests whose client hangs up", 38),
];

impl Worker {
    /// Does something or other for one tenant.
    pub(super) async fn transact(&mut self, turn: usize) {
        let (act, name) = self.choose();
        *self.tally.acts.entry(name).or_default() += 1;
        if let Err(error) = Box::pin(self.act(act, turn)).await {
            self.tally.findings.push(format!("{name}: {error}; this should have gone well"));
        }
    }

    fn choose(&mut self) -> (Act, &'static str) {
        let waits = self.subject.app.config().limits.request_timeout <= WAIT_MAX;
        let mut left = self.rng.random_range(0..ACTS.iter().map(|(_, _, share)| share).sum());
        for (act, name, share) in ACTS {
            if left < share && (waits || act != Act::AskWait) {
                return (act, name);
            }
            left = left.saturating_sub(share);
        }
        (Act::Look, ACTS[0].1)
    }

    async fn act(&mut self, act: Act, turn: usize) -> Result<()> {
        match act {
            Act::Look => self.look(turn).await,
            Act::LookHalf => self.look_half(turn).await,
            Act::Write => self.write(turn).await,
            Act::Abandon => self.begin_doomed(turn).await.map(drop),
            Act::Fail => self.fail(turn).await,
            Act::Exceed => self.exceed(turn).await,
            Act::Panic => self.panic(turn).await,
            Act::Cut => self.cut(turn).await,
            Act::CutCommit => self.cut_commit(turn).await,
            Act::LeaveBehind => self.leave_behind(turn).await,
            Act::AskLook => self.ask_look(turn, "/rows").await,
            Act::AskHalf => self.ask_look(turn, "/half").await,
            Act::AskWrite => self.ask_write(turn).await,
            Act::AskPanic => self.ask_in_vain(turn, "/panics").await,
            Act::AskFail => self.ask_in_vain(turn, "/failures").await,
            Act::AskExceed => self.ask_in_vain(turn, "/limits").await,
            Act::AskWait => self.ask_in_vain(turn, "/waits").await,
            Act::HangUp => self.hang_up(turn).await,
        }
    }

    async fn begin(&self, turn: usize) -> Result<Tx> {
        self.subject.app.tenant_tx(self.parties[turn].tenant).await
    }

    async fn look(&mut self, turn: usize) -> Result<()> {
        let mut tx = self.begin(turn).await?;
        let seen = rows::see(&mut tx, self.newest[turn]).await?;
        self.judge(turn, &seen, self.newest[turn]);
        Ok(())
    }

    async fn look_half(&mut self, turn: usize) -> Result<()> {
        let mut tx = self.begin(turn).await?;
        let first = rows::see_half(&mut tx).await?;
        if self.rng.random_bool(0.5) {
            let mut seen = rows::see(&mut tx, None).await?;
            seen.owners.extend(first);
            self.judge(turn, &seen, None);
        }
        Ok(())
    }

    async fn write(&mut self, turn: usize) -> Result<()> {
        let mut tx = self.begin(turn).await?;
        let id = rows::write(&mut tx, false).await?;
        let seen = rows::see(&mut tx, Some(id)).await?;
        tx.commit().await?;
        self.judge(turn, &seen, Some(id));
        self.acknowledge(turn, id);
        Ok(())
    }

    /// A transaction that has looked and written, and must come to nothing.
    async fn begin_doomed(&mut self, turn: usize) -> Result<Tx> {
        let mut tx = self.begin(turn).await?;
        let id = rows::write(&mut tx, true).await?;
        let seen = rows::see(&mut tx, Some(id)).await?;
        self.judge(turn, &seen, Some(id));
        Ok(tx)
    }

    async fn fail(&mut self, turn: usize) -> Result<()> {
        let mut tx = self.begin_doomed(turn).await?;
        if rows::fail(&mut tx).await.is_ok() {
            self.tally.findings.push("a division by zero went well".to_owned());
        }
        if self.rng.random_bool(0.5) && tx.commit().await.is_ok() {
            self.tally.findings.push("a commit after a failure went well".to_owned());
        }
        Ok(())
    }

    async fn exceed(&mut self, turn: usize) -> Result<()> {
        let mut tx = self.begin_doomed(turn).await?;
        if rows::exceed(&mut tx).await.is_ok() {
            self.tally.findings.push("a statement knows no time limit".to_owned());
        }
        Ok(())
    }

    async fn panic(&mut self, turn: usize) -> Result<()> {
        let tx = self.begin_doomed(turn).await?;
        let broken = async move {
            let _tx = tx;
            // As a panic, without its words on the screen for each of thousands.
            resume_unwind(Box::new("a panic of the proof"))
        };
        let ended: std::result::Result<(), _> = AssertUnwindSafe(broken).catch_unwind().await;
        drop(ended);
        Ok(())
    }

    /// Dropped while it begins, looks, writes or waits for an answer.
    async fn cut(&mut self, turn: usize) -> Result<()> {
        let polls = self.rng.random_range(1..24);
        let (subject, tenant) = (self.subject.clone(), self.parties[turn].tenant);
        let doomed = async move {
            let mut tx = subject.app.tenant_tx(tenant).await?;
            let first = rows::see(&mut tx, None).await?;
            rows::write(&mut tx, true).await?;
            let half = rows::see_half(&mut tx).await?;
            let mut second = rows::see(&mut tx, None).await?;
            second.owners.extend(half);
            Ok::<_, Error>((first, second))
        };
        if let Some((first, second)) = cut::after(polls, doomed).await.transpose()? {
            self.judge(turn, &first, None);
            self.judge(turn, &second, None);
        }
        Ok(())
    }

    /// Dropped at any moment until the commit is acknowledged; what then is there is open, and must
    /// be whole.
    async fn cut_commit(&mut self, turn: usize) -> Result<()> {
        let polls = self.rng.random_range(2..20);
        let (subject, tenant) = (self.subject.clone(), self.parties[turn].tenant);
        let open = async move {
            let mut tx = subject.app.tenant_tx(tenant).await?;
            let id = rows::write(&mut tx, false).await?;
            tx.commit().await?;
            Ok::<_, Error>(id)
        };
        if let Some(id) = cut::after(polls, open).await.transpose()? {
            self.acknowledge(turn, id);
        }
        Ok(())
    }

    async fn leave_behind(&mut self, turn: usize) -> Result<()> {
        let other = self.parties[(turn + 1) % self.parties.len()].tenant;
        let mut tx = self.begin(turn).await?;
        rows::leave_behind(&mut tx, *other).await?;
        tx.commit().await
    }

    async fn ask_look(&mut self, turn: usize, path: &str) -> Result<()> {
        let answer = self.ask(turn, Method::GET, path).send().await.map_err(Error::internal)?;
        if self.was_turned_away(path, answer.status(), StatusCode::OK) {
            return Ok(());
        }
        let seen: Seen = answer.json().await.map_err(Error::internal)?;
        self.judge(turn, &seen, None);
        Ok(())
    }

    async fn ask_write(&mut self, turn: usize) -> Result<()> {
        let answer = self.ask(turn, Method::POST, "/rows").send().await.map_err(Error::internal)?;
        if self.was_turned_away("/rows", answer.status(), StatusCode::CREATED) {
            return Ok(());
        }
        let Written { id } = answer.json().await.map_err(Error::internal)?;
        self.acknowledge(turn, id);
        Ok(())
    }

    async fn ask_in_vain(&mut self, turn: usize, path: &str) -> Result<()> {
        let answer = self.ask(turn, Method::POST, path).send().await.map_err(Error::internal)?;
        if answer.status().is_success() {
            self.tally.findings.push(format!("POST {path} went well, and cannot"));
        }
        Ok(())
    }

    async fn hang_up(&mut self, turn: usize) -> Result<()> {
        let paths = ["/rows", "/failures", "/panics"];
        let path = paths[self.rng.random_range(0..paths.len())];
        let patience = Duration::from_micros(self.rng.random_range(0..3000));
        let request = self.ask(turn, Method::POST, path).send();
        // Whatever it comes to, the table tells in the end.
        drop(tokio::time::timeout(patience, request).await);
        Ok(())
    }

    fn ask(&self, turn: usize, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/api/v1/proof{path}", self.subject.base);
        self.http.request(method, url).bearer_auth(&self.parties[turn].bearer)
    }

    /// Whether a node with too much to do said so. Any other answer than the one wanted is a finding.
    fn was_turned_away(&mut self, path: &str, status: StatusCode, wanted: StatusCode) -> bool {
        if status == StatusCode::SERVICE_UNAVAILABLE {
            self.tally.turned_away += 1;
        } else if status != wanted {
            self.tally.findings.push(format!("{path} answers {status} instead of {wanted}"));
        }
        status != wanted
    }

    fn acknowledge(&mut self, turn: usize, id: Uuid) {
        self.newest[turn] = Some(id);
        self.tally.acknowledged.push(id);
    }

    /// Compares everything that was seen with the tenant it was seen for.
    fn judge(&mut self, turn: usize, seen: &Seen, wanted: Option<Uuid>) {
        let tenant: TenantId = self.parties[turn].tenant;
        let mine = tenant.uuid();
        let mut say = |words: String| self.tally.findings.push(format!("for {tenant}: {words}"));
        if seen.setting.as_deref() != Some(mine.to_string().as_str()) {
            say(format!("the transaction is in {:?}", seen.setting));
        }
        if seen.tenants != [mine] {
            say(format!("the tenants in sight are {:?}", seen.tenants));
        }
        for (what, ids) in
            [("owners", &seen.owners), ("meant", &seen.meant), ("events", &seen.events)]
        {
            if let Some(stranger) = ids.iter().find(|id| **id != mine) {
                say(format!("among the {what} of rows in sight is {stranger}"));
            }
        }
        if wanted.is_some() && seen.found != 1 {
            say(format!("a row of its own is there {} times", seen.found));
        }
        let rows = seen.owners.len() + seen.events.len();
        self.tally.seen += u64::try_from(rows).unwrap_or_default();
    }
}
