//! Thousands of questions at the same moment: as many as LIGHTERMAN_OVERLOAD_CALLS says.

use std::io::Write as _;

use lighterman::core::error::Kind;
use lighterman::resolve::resolution::Resolution;
use lighterman::service::api::RemoteFailure;
use lighterman::service::api::client::{Client, ClientError};
use lighterman::service::api::v1::ResolveRequest;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::{PEAK, connect, kind};
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture;
use crate::support::liar::{At, Liar, Reply};
use crate::support::{asked_for, host};

/// Calls of a run that takes some seconds.
const CALLS: usize = 2000;
/// Calls of one connection that the daemon serves at a time, and those that are made on each.
const MOST: usize = 1000;
const EACH: usize = 900;
/// KiB that the daemon may take for a call that waits, and for those that do not.
const WAITING: u64 = 10;
const ANSWERING: u64 = 12 * 1024;

type Answer = Result<(Resolution, Option<RemoteFailure>), ClientError>;

/// Asks so many times on one connection.
fn ask(runtime: &Runtime, client: &Client, reference: &str, times: usize) -> Vec<JoinHandle<Answer>> {
    let ask = |_| {
        let (client, reference) = (client.clone(), reference.to_owned());
        runtime.spawn(async move { client.resolve(ResolveRequest { reference, ..Default::default() }).await })
    };
    (0..times).map(ask).collect()
}

#[test]
fn thousands_of_questions_at_once_are_answered_or_refused_and_a_pull_is_served_right_after() {
    let named = asked_for("LIGHTERMAN_OVERLOAD_CALLS");
    let calls = named.unwrap_or(CALLS);
    let (containerd, liar) = (ContainerdDaemon::start(), Liar::serving(fixture::busybox(), "app:1"));
    let mut daemon = Daemon::start(&containerd);
    let (runtime, reference) = (Runtime::new().expect("threads"), liar.reference("app:1"));
    // Nobody gets an answer before everybody has asked.
    let question = "/v2/app/manifests/1";
    liar.always(question, Reply::Gated(At::BeforeHead));
    let clients = connect(&runtime, &daemon.socket(), calls.div_ceil(EACH));
    let mut resident = |name: &str| daemon.process().proc_value("status", name).expect("it runs");
    let idle = resident("VmRSS");
    let answers: Vec<_> = clients.iter().flat_map(|client| ask(&runtime, client, &reference, EACH)).collect();
    let asked = answers.len();
    liar.wait_for(question);
    for client in &clients {
        // Behind all questions of its connection.
        runtime.block_on(client.pulls()).expect("is answered meanwhile");
    }
    let waiting = resident("VmRSS").saturating_sub(idle);
    liar.open_gate();
    let expected = &fixture::busybox().of(host()).blob.digest;
    let (mut answered, mut refused) = (0, 0);
    for answer in answers {
        let answer = runtime.block_on(answer).expect("no panic");
        match (kind(&answer), answer) {
            (None, Ok((resolution, None))) => {
                let (chosen, _) = resolution.chosen.expect("it is an image for this node");
                assert_eq!(chosen.digest.to_string(), *expected);
                answered += 1;
            }
            (Some(Kind::RateLimited), Err(_)) => refused += 1,
            (_, other) => panic!("neither an answer nor a clear refusal: {other:?}"),
        }
    }
    assert_eq!(answered + refused, asked);
    daemon.user().run(&["pull", &reference]).succeeds();
    let peak = daemon.process().proc_value("status", "VmHWM").expect("it runs");
    let told = format!(
        "{answered} answers and {refused} refusals: {idle} KiB before, {waiting} more while all waited, {peak} at the peak"
    );
    if named.is_some() {
        let _ = writeln!(std::io::stderr(), "{told}");
    }
    assert!(peak < PEAK && waiting < ANSWERING + asked as u64 * WAITING, "{told}");
}

#[test]
fn one_connection_has_so_many_calls_at_a_time_and_keeps_no_other_from_its_own() {
    let (containerd, liar) = (ContainerdDaemon::start(), Liar::serving(fixture::busybox(), "app:1"));
    let daemon = Daemon::start(&containerd);
    let (runtime, question) = (Runtime::new().expect("threads"), "/v2/app/manifests/1");
    liar.always(question, Reply::Gated(At::BeforeHead));
    let clients = connect(&runtime, &daemon.socket(), 2);
    let asked = ask(&runtime, &clients[0], &liar.reference("app:1"), MOST + 1);
    liar.wait_for(question);
    let behind = clients[0].clone();
    let behind = runtime.spawn(async move { behind.pulls().await });
    for _ in 0..50 {
        runtime.block_on(clients[1].pulls()).expect("is answered meanwhile");
    }
    assert!(!behind.is_finished(), "one caller may have as many calls under way as he likes");
    liar.open_gate();
    runtime.block_on(behind).expect("no panic").expect("its turn comes");
    for answer in asked {
        assert_eq!(kind(&runtime.block_on(answer).expect("no panic")), None);
    }
}
