//! The one retry loop of the program: hosts times policy.
//!
//! What to do after a failure is decided by [`Policy::decide`](crate::core::retry::Policy);
//! here is only the bookkeeping, the waiting, and the record of every attempt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::error::{Attempt, Classify, Kind};
use crate::core::retry::{Decision, Failure, Policy, is_transient};
use crate::core::unique;
use crate::registry::{Client, Host};

use super::engine::Engine;
use super::error::{Cause, FetchError, WrongSize};
use super::ledger::HostClass;
use super::progress::{Event, Observer};

/// Attempts that an error shows at the most.
const MAX_ATTEMPTS_KEPT: usize = 50;

/// The attempts to get one thing.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    what: String,
    hosts: Vec<&'a Host>,
    current: usize,
    round: u32,
    /// Hosts of this round that failed in a way that time may heal.
    may_heal: Vec<&'a Host>,
    /// Those that failed by silence. To find that out again costs as much time again, so they are
    /// left alone while others may heal, and asked once more in the last round.
    silent: Vec<&'a Host>,
    /// The furthest byte that any attempt got to.
    reached: u64,
    progressed: bool,
    started: Instant,
    offset: u64,
    past: Vec<Attempt>,
    /// How many hosts there are to ask.
    all: usize,
    /// Other sizes of the blob than the manifest's, by the host that announced it.
    sizes: BTreeMap<String, WrongSize>,
    engine: &'a Engine,
    policy: Policy,
    observer: &'a dyn Observer,
}

impl<'a> Attempts<'a> {
    /// To ask `hosts`, those that failed lately last.
    pub(super) fn new(
        what: String,
        hosts: Vec<&'a Host>,
        engine: &'a Engine,
        observer: &'a dyn Observer,
    ) -> Result<Self, FetchError> {
        if hosts.is_empty() {
            return Err(FetchError::NoHost { what });
        }
        Ok(Self {
            what,
            all: hosts.len(),
            sizes: BTreeMap::new(),
            hosts: engine.health().order(hosts),
            current: 0,
            round: 1,
            may_heal: Vec::new(),
            silent: Vec::new(),
            reached: 0,
            progressed: false,
            started: Instant::now(),
            offset: 0,
            past: Vec::new(),
            engine,
            policy: *engine.policy(),
            observer,
        })
    }

    /// The same, with another patience than the engine's.
    pub(super) fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Starts over with one host alone, because what came from `hosts` was wrong.
    pub(super) fn only(&mut self, host: &'a Host, hosts: &[String], wrong: &Cause) {
        let left = names(hosts);
        self.record(left.clone(), wrong);
        self.observer.notify(Event::NextHost { what: &self.what, left: &left, cause: wrong });
        self.hosts = vec![host];
        self.may_heal.clear();
        self.silent.clear();
        (self.current, self.round, self.reached, self.progressed) = (0, 1, 0, false);
    }

    /// The error where what came from `hosts` was wrong and nobody else can be asked.
    pub(super) fn wrong(mut self, hosts: &[String], cause: Cause) -> FetchError {
        self.record(names(hosts), &cause);
        self.give_up(Some(names(hosts)), cause)
    }

    fn give_up(&mut self, host: Option<String>, cause: Cause) -> FetchError {
        let (what, attempts) = (std::mem::take(&mut self.what), std::mem::take(&mut self.past));
        FetchError::Failed { what, host, attempts, cause: Arc::new(cause) }
    }

    /// The host to ask now.
    pub(super) fn host(&self) -> &'a Host {
        self.hosts[self.current]
    }

    /// How long that host may be silent.
    pub(super) fn patience(&self) -> Duration {
        let window = self.engine.limits().stall_window;
        self.policy.patience(window, self.hosts_left(), self.round)
    }

    /// Asks host after host until one answers.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub(super) async fn until_answered<T, Asked>(
        mut self,
        ask: impl Fn(Client, &'a Host) -> Asked,
    ) -> Result<T, FetchError>
    where
        Asked: Future<Output = Result<T, Cause>>,
    {
        loop {
            match ask(self.client(), self.host()).await {
                Ok(answer) => {
                    self.succeeded();
                    return Ok(answer);
                }
                Err(cause) => self.failed(cause).await?,
            }
        }
    }

    /// Who asks that host, with this patience.
    pub(super) fn client(&self) -> Client {
        self.engine.client().patient(self.patience())
    }

    fn hosts_left(&self) -> usize {
        self.hosts.len() - self.current - 1
    }

    /// Notes where in the blob the next attempt starts.
    pub(super) fn start_at(&mut self, offset: u64) {
        self.offset = offset;
        self.reached = self.reached.max(offset);
        self.started = Instant::now();
    }

    /// Notes how far an attempt got. Only new ground counts as progress, so that a host which
    /// breaks off at the same place again and again does not get for ever.
    pub(super) fn ended_at(&mut self, offset: u64) {
        self.progressed = offset > self.reached;
        self.reached = self.reached.max(offset);
        if self.progressed {
            self.round = 1;
        }
    }

    /// Lets the next failure wear out no patience: the host is busy with what it brings us.
    pub(super) fn excuse(&mut self) {
        self.round = self.round.min(self.policy.rounds.saturating_sub(1)).max(1);
    }

    /// Takes note that the host answered.
    pub(super) fn succeeded(&self) {
        self.engine.health().note_success(self.host());
        self.engine.ledger().asked(HostClass::of(self.host()), None);
    }

    /// Takes note of a failure, and waits or moves on to the next host.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt where nothing more can help.
    pub(super) async fn failed(&mut self, cause: Cause) -> Result<(), FetchError> {
        let decision = self.decide(&cause);
        let host = self.host().to_string();
        let observer = self.observer;
        match decision {
            Decision::GiveUp => {
                let cause = self.agreed_size().map_or(cause, Cause::from);
                return Err(self.give_up(Some(host), cause));
            }
            Decision::NextHost => {
                observer.notify(Event::NextHost { what: &self.what, left: &host, cause: &cause });
                self.current += 1;
            }
            Decision::Retry(wait) => {
                observer.notify(Event::Waiting { what: &self.what, wait, cause: &cause });
                tokio::time::sleep(wait).await;
            }
            Decision::NextRound(wait) => {
                observer.notify(Event::Waiting { what: &self.what, wait, cause: &cause });
                tokio::time::sleep(wait).await;
                self.next_round();
            }
        }
        self.progressed = false;
        self.started = Instant::now();
        Ok(())
    }

    fn next_round(&mut self) {
        self.round += 1;
        self.current = 0;
        self.hosts = std::mem::take(&mut self.may_heal);
        if self.hosts.is_empty() || self.round >= self.policy.rounds {
            self.hosts.append(&mut self.silent);
        }
    }

    /// What all hosts say, where they say the same and contradict the manifest. One alone may be wrong.
    fn agreed_size(&self) -> Option<WrongSize> {
        let first = *self.sizes.values().next()?;
        let agreed = self.all > 1 && self.sizes.len() == self.all && self.sizes.values().all(|size| *size == first);
        agreed.then_some(first)
    }

    /// Records the attempt and asks the policy.
    fn decide(&mut self, cause: &Cause) -> Decision {
        let (kind, host) = (cause.kind(), self.host());
        self.record(host.to_string(), cause);
        self.sizes.extend(cause.other_size().map(|size| (host.to_string(), size)));
        self.note_health(host, cause);
        let failure = Failure {
            kind,
            retry_after: cause.retry_after(),
            progressed: self.progressed,
            hosts_left: self.hosts_left(),
            worth_another_round: self.may_heal.len() + self.silent.len() + usize::from(is_transient(kind)),
            round: self.round,
        };
        let decision = self.policy.decide(&failure, unique::fraction());
        if is_transient(kind) && !matches!(decision, Decision::Retry(_)) {
            let waiting = if cause.is_silence() { &mut self.silent } else { &mut self.may_heal };
            waiting.push(host);
        }
        decision
    }

    /// A host that delivered until it broke off is no dead one.
    fn note_health(&self, host: &Host, cause: &Cause) {
        match cause.kind() {
            Kind::RateLimited => {
                if let Some(wait) = cause.retry_after() {
                    self.engine.health().note_rest(host, wait);
                }
            }
            Kind::RegistryUnavailable | Kind::DeadlineExceeded | Kind::TlsUntrusted if !self.progressed => {
                self.engine.health().note_failure(host);
            }
            _ => {}
        }
    }

    fn record(&mut self, host: String, cause: &Cause) {
        self.engine.ledger().asked(HostClass::of(self.host()), Some(cause.kind()));
        self.past.push(Attempt {
            host,
            kind: cause.kind(),
            message: cause.to_string(),
            elapsed: self.started.elapsed(),
            offset: self.offset,
        });
        // Thousands of breaks on a bad link are one story; its end is what is told.
        if self.past.len() > MAX_ATTEMPTS_KEPT {
            self.past.remove(0);
        }
    }
}

/// Who brought bytes, in words.
fn names(hosts: &[String]) -> String {
    if hosts.is_empty() { "an earlier run".into() } else { hosts.join(", ") }
}
