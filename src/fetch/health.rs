//! Which hosts failed lately, so that a dead mirror is not paid for at every blob, and one
//! that sent wrong bytes is not believed for a while.
//!
//! No host is ever left out for good: a pull's last resort may be one that is back by now,
//! and every byte is verified whoever sends it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::registry::Host;

/// How long a host that could not be used is asked last; doubles with every vain try.
const COOL_DOWN: Duration = Duration::from_secs(30);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(300);
/// How long a host that sent wrong bytes is asked after all others.
const DISTRUST: Duration = Duration::from_secs(600);
/// Hosts that are remembered. Forgetting one costs a timeout.
const MOST: usize = 1024;

/// What is held against hosts.
#[derive(Debug, Default)]
pub(super) struct Health {
    hosts: Mutex<HashMap<String, Record>>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    standing: Standing,
    until: Instant,
    /// Vain tries in a row.
    failures: u32,
}

/// From the better to the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Good,
    Down,
    Liar,
}

impl Health {
    /// The host could not be used.
    pub(super) fn note_failure(&self, host: &Host) {
        let mut hosts = self.lock();
        let record = hosts.get(&host.to_string());
        let failures = record.map_or(0, |record| record.failures).saturating_add(1);
        // Several connections that fail together are one failure.
        let failures = if record.is_some_and(Record::holds) { failures - 1 } else { failures }.max(1);
        let wait = COOL_DOWN.saturating_mul(1 << (failures - 1).min(8)).min(LONGEST_COOL_DOWN);
        note(&mut hosts, host, Standing::Down, failures, wait);
    }

    /// The host asked to be left alone for so long.
    pub(super) fn note_rest(&self, host: &Host, wait: Duration) {
        note(&mut self.lock(), host, Standing::Down, 1, wait);
    }

    /// The host sent bytes that are not the ones of their digest.
    pub(super) fn note_liar(&self, host: &Host) {
        note(&mut self.lock(), host, Standing::Liar, 1, DISTRUST);
    }

    /// The host answers. That mends everything but a lie.
    pub(super) fn note_success(&self, host: &Host) {
        let mut hosts = self.lock();
        if hosts.get(&host.to_string()).is_some_and(|record| record.standing == Standing::Down) {
            hosts.remove(&host.to_string());
        }
    }

    /// Whether the host could not be used lately.
    pub(super) fn is_down(&self, host: &Host) -> bool {
        let records = self.lock();
        records.get(&host.to_string()).is_some_and(|record| record.standing == Standing::Down && record.holds())
    }

    /// The hosts in their order, behind the others those that failed lately, and last those
    /// that lied. When a cool-down is over, one caller gets the host at its old place, and
    /// until it has found out more everybody else still gets it behind.
    pub(super) fn order<'a>(&self, mut hosts: Vec<&'a Host>) -> Vec<&'a Host> {
        let mut records = self.lock();
        let held = |record: &Record| if record.holds() { record.standing } else { Standing::Good };
        hosts.sort_by_key(|host| records.get(&host.to_string()).map_or(Standing::Good, held));
        if let Some(first) = hosts.first()
            && let Some(record) = records.get_mut(&first.to_string())
            && record.standing == Standing::Down
            && !record.holds()
        {
            record.until = Instant::now() + COOL_DOWN;
        }
        hosts
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Record>> {
        // Whole after any panic: every change is one assignment.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn holds(&self) -> bool {
        Instant::now() < self.until
    }
}

fn note(hosts: &mut HashMap<String, Record>, host: &Host, standing: Standing, failures: u32, wait: Duration) {
    if hosts.len() >= MOST {
        hosts.retain(|_, record| record.holds());
    }
    let record = Record { standing, until: Instant::now() + wait, failures };
    let known = hosts.entry(host.to_string()).or_insert(record);
    // A liar that is also down stays a liar.
    if !(known.holds() && known.standing > standing) {
        *known = record;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{HostOptions, hosts_for};

    fn hosts() -> Vec<Host> {
        let options =
            HostOptions { mirrors: ["http://a", "http://b"].map(str::to_owned).to_vec(), ..HostOptions::default() };
        hosts_for(&"c.example/x".parse().expect("a reference"), &options).expect("hosts")
    }

    fn order(health: &Health, hosts: &[Host]) -> Vec<String> {
        health.order(hosts.iter().collect()).iter().map(|host| host.authority.clone()).collect()
    }

    /// Lets the cool-down of a host end.
    fn expire(health: &Health, host: &Host) {
        if let Some(record) = health.lock().get_mut(&host.to_string()) {
            record.until = Instant::now();
        }
    }

    #[test]
    fn failures_come_later_and_lies_last() {
        let (health, hosts) = (Health::default(), hosts());
        assert_eq!(order(&health, &hosts), ["a", "b", "c.example"]);
        health.note_liar(&hosts[0]);
        health.note_failure(&hosts[1]);
        assert_eq!(order(&health, &hosts), ["c.example", "b", "a"]);
        health.note_failure(&hosts[0]);
        health.note_success(&hosts[0]);
        health.note_success(&hosts[1]);
        assert_eq!(order(&health, &hosts), ["b", "c.example", "a"], "an answer mends no lie");
        expire(&health, &hosts[0]);
        assert_eq!(order(&health, &hosts), ["a", "b", "c.example"]);
    }

    #[test]
    fn after_a_cool_down_one_caller_tries_and_the_others_wait_for_its_verdict() {
        let (health, hosts) = (Health::default(), hosts());
        health.note_failure(&hosts[0]);
        expire(&health, &hosts[0]);
        assert_eq!(order(&health, &hosts)[0], "a");
        assert_eq!(order(&health, &hosts)[0], "b");
        health.note_success(&hosts[0]);
        assert_eq!(order(&health, &hosts)[0], "a");
    }

    #[test]
    fn many_connections_see_one_failure_and_vain_tries_make_it_longer() {
        let (health, hosts) = (Health::default(), hosts());
        let left = || health.lock()[&hosts[0].to_string()].until - Instant::now();
        (0..9).for_each(|_| health.note_failure(&hosts[0]));
        assert!(left() <= COOL_DOWN);
        for _ in 0..9 {
            expire(&health, &hosts[0]);
            health.note_failure(&hosts[0]);
        }
        assert!(left() > COOL_DOWN && left() <= LONGEST_COOL_DOWN);
    }
}
