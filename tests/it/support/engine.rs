//! The engine in the test's own process, for a test that has to stand between its parts.

use std::sync::Arc;

use lighterman::core::limits::Limits;
use lighterman::core::mismatch::Stance;
use lighterman::core::reference::Reference;
use lighterman::cpu::Cpu;
use lighterman::fetch::progress::Silent;
use lighterman::fetch::{Engine, Fetcher};
use lighterman::host::LocalHost;
use lighterman::pull::{Platforms, PullRequest, Puller};
use lighterman::registry::{Client, Credentials, HostOptions, hosts_for};
use lighterman::resolve::choice::Level;
use lighterman::store::Store;

/// An engine that asks the hosts of a reference, as nobody in particular.
pub(crate) fn fetcher(reference: &Reference) -> Fetcher {
    let limits = Limits::default();
    let client = Client::new(Credentials::anonymous(), limits).expect("a client");
    let hosts = hosts_for(reference, &HostOptions::default()).expect("hosts");
    Fetcher::new(Engine::new(client, Cpu::new(), limits), hosts, Arc::new(Silent))
}

/// Pulls into a store, without unpacking.
pub(crate) fn puller<'a>(fetcher: &'a Fetcher, store: &'a dyn Store, host: &'a LocalHost) -> Puller<'a> {
    let limits = *fetcher.engine().limits();
    Puller { fetcher, store, unpacker: None, check_access: false, host, limits, observer: &Silent }
}

/// What this machine would pull.
pub(crate) fn request(reference: Reference) -> PullRequest {
    let (level, on_mismatch) = (Level::Containerd, Stance::default());
    PullRequest { reference, platforms: Platforms::Host, level, on_mismatch }
}
