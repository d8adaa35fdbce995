//! The registry that a request is about: its hosts, and how this caller is to be asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::asker::{Asker, Login};
use super::refusal::{Code, Refusal};
use super::rights::{self, Right};
use super::{Inner, Settings, via};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::{Blame, Classify, Kind};
use crate::core::reference::Reference;
use crate::core::retry::Policy;
use crate::fetch::progress::Silent;
use crate::fetch::{Document, Endpoint, Engine, FetchError, Fetcher};
use crate::registry::{Credentials, Host, Operation, Reach, hosts_for};

/// Callers whose engines, with the tokens in them, are kept.
const MOST_CALLERS: usize = 256;
/// Rounds over the hosts for a question: whoever asks us has other hosts, and retries himself.
const ROUNDS: u32 = 2;
/// Bound on a question to upstream, with all retries: less than what clients wait for a reply.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A repository upstream, and who asks.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The repository.
    pub(super) reference: Reference,
    pub(super) asker: Asker,
    /// An operator has named whoever grants rights.
    pub(super) is_vouched_for: bool,
    caller: Option<Digest>,
    /// Whoever can grant rights.
    pub(super) authority: Fetcher,
    /// Everybody who has content.
    pub(super) content: Fetcher,
}

/// One engine per caller and registry; all share everything but what was granted to them.
#[derive(Debug)]
pub(super) struct Engines {
    anonymous: Engine,
    /// With when they began: a caller's tokens count no longer than what was granted to him.
    callers: Mutex<HashMap<(String, Digest), (Engine, Instant)>>,
}

impl Engines {
    pub(super) fn new(engine: &Engine) -> Self {
        Self { anonymous: engine.with_credentials(Credentials::anonymous()), callers: Mutex::default() }
    }

    fn of(&self, registry: &str, login: Option<&Login>) -> Engine {
        let Some(login) = login else { return self.anonymous.clone() };
        let mut callers = self.lock();
        callers.retain(|_, (_, since)| since.elapsed() < rights::KEPT);
        let key = (registry.to_owned(), login.fingerprint());
        if callers.len() >= MOST_CALLERS && !callers.contains_key(&key) {
            callers.clear();
        }
        let own = || (self.anonymous.with_credentials(login.credentials()), Instant::now());
        callers.entry(key).or_insert_with(own).0.clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Digest), (Engine, Instant)>> {
        // Whole after any panic: every change is one insertion or removal.
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The repository `name` of the registry that the asker names.
    pub(super) async fn upstream(
        &self,
        name: &str,
        asker: Asker,
        settings: Arc<Settings>,
    ) -> Result<Upstream, Refusal> {
        let registry = &asker.registry;
        let reference: Option<Reference> = format!("{registry}/{name}").parse().ok();
        // Parsing could take the name's first component for a registry, or give docker.io its other names.
        let reference = reference.filter(|reference| reference.registry() == *registry).ok_or_else(|| {
            Refusal::new(
                Code::NameInvalid,
                format!("{registry:?} is not the name of a registry, or {name:?} not one of a repository"),
            )
        })?;
        let hosts = self.hosts(&reference, &asker, settings).await?;
        // A mirror's word is not the registry's, unless there is nobody else to ask.
        let can_grant = |host: &&Host| host.is_upstream() && host.can(Operation::Resolve);
        let own: Vec<Host> = hosts.iter().filter(can_grant).cloned().collect();
        let authority = if own.is_empty() { hosts.clone() } else { own };
        let engine = self.engines.of(registry, asker.login.as_ref());
        let policy = Policy { rounds: ROUNDS, ..Policy::default() };
        let fetcher = |hosts| Fetcher::new(engine.clone(), hosts, Arc::new(Silent)).with_policy(policy);
        Ok(Upstream {
            is_vouched_for: authority.iter().all(|host| host.reach == Reach::Anywhere),
            caller: asker.login.as_ref().map(Login::fingerprint),
            authority: fetcher(authority),
            content: fetcher(hosts),
            reference,
            asker,
        })
    }

    async fn hosts(&self, reference: &Reference, asker: &Asker, settings: Arc<Settings>) -> Result<Vec<Host>, Refusal> {
        let is_listed = settings.allow.iter().any(|listed| listed == reference.registry());
        let wanted = reference.clone();
        // It reads files.
        let found = tokio::task::spawn_blocking(move || hosts_for(&wanted, &settings.hosts)).await;
        let found = found
            .map_err(|error| Refusal::local(&error, "the hosts of this registry cannot be looked up"))?
            .map_err(|error| Refusal::local(&error, "the hosts of this registry are not configured well"))?;
        let via = via::onward(&asker.via, &self.pseudonym);
        let hosts = found.into_iter().filter(|host| !host.is_at(&self.home.listen)).map(|mut host| {
            host.reach = if host.is_configured || is_listed { Reach::Anywhere } else { Reach::Public };
            // What the operator's files say of a host may be the node's own login.
            host.headers.clear();
            host.tls.identities.clear();
            host.via.clone_from(&via);
            host
        });
        Ok(hosts.collect())
    }

    /// What this caller may read under a digest, by upstream's word of minutes ago at the most.
    pub(super) async fn grant(
        &self,
        upstream: &Upstream,
        endpoint: Endpoint,
        digest: &Digest,
    ) -> Result<Descriptor, Refusal> {
        let right = upstream.right(endpoint, digest);
        if let Some(known) = self.rights.find(&right) {
            return Ok(known);
        }
        let asked = upstream.in_time(async {
            match endpoint {
                Endpoint::Manifests => {
                    let (descriptor, _) = upstream.look_up(&upstream.reference.with_digest(digest.clone())).await?;
                    Ok(descriptor)
                }
                Endpoint::Blobs => {
                    let size = upstream.authority.size_of(&upstream.reference, digest).await?;
                    Ok(Descriptor::new(MediaType::Other("application/octet-stream".into()), digest.clone(), size))
                }
            }
        });
        match asked.await? {
            Ok(found) => {
                self.rights.note(right, found.clone());
                Ok(found)
            }
            Err(error) => {
                self.rights.withdraw(&right);
                Err(upstream.refusal(&error, unknown(endpoint)))
            }
        }
    }
}

fn unknown(endpoint: Endpoint) -> Code {
    match endpoint {
        Endpoint::Manifests => Code::ManifestUnknown,
        Endpoint::Blobs => Code::BlobUnknown,
    }
}

impl Upstream {
    /// The right of this caller to read something of this repository.
    pub(super) fn right(&self, endpoint: Endpoint, digest: &Digest) -> Right {
        Right::new(&self.reference, self.caller.clone(), endpoint, digest)
    }

    /// What the registry itself says that a reference stands for; with the document where it
    /// only says so by sending it.
    pub(super) async fn look_up(&self, reference: &Reference) -> Result<(Descriptor, Option<Document>), FetchError> {
        if let Some(descriptor) = self.authority.resolve(reference).await? {
            return Ok((descriptor, None));
        }
        let document = self.authority.root(reference).await?;
        Ok((document.descriptor(MediaType::OciManifest), Some(document)))
    }

    /// Waits for upstream, but not for ever.
    pub(super) async fn in_time<T>(&self, question: impl Future<Output = T>) -> Result<T, Refusal> {
        tokio::time::timeout(PATIENCE, question).await.map_err(|_| Refusal::late(self.reference.registry()))
    }

    /// The refusal for a failure. Who gave no credentials is asked for some where upstream
    /// refuses; clients then repeat the request with those of the pull.
    pub(super) fn refusal(&self, error: &FetchError, unknown: Code) -> Refusal {
        // What the registry itself is to blame for, no credentials mend.
        let is_about_rights = matches!(error.kind(), Kind::Unauthenticated | Kind::PermissionDenied);
        let is_refused = is_about_rights && error.blame() == Blame::Caller;
        if is_refused && self.caller.is_none() {
            return Refusal::challenge(self.reference.registry(), error.to_string());
        }
        Refusal::upstream(error, unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::Limits;
    use crate::cpu::Cpu;
    use crate::registry::Client;

    fn login(user: &str) -> Login {
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{user}:s3cret"));
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, format!("Basic {encoded}").parse().expect("a value"));
        Asker::read("ns=a.example", &headers, "a.example").expect("well formed").login.expect("a login")
    }

    #[test]
    fn callers_are_kept_no_longer_than_what_was_granted_to_them() {
        let client = Client::new(Credentials::anonymous(), Limits::default()).expect("a client");
        let engines = Engines::new(&Engine::new(client, Cpu::new(), Limits::default()));
        for user in ["alice", "bob"] {
            engines.of("a.example", Some(&login(user)));
        }
        engines.of("b.example", Some(&login("alice")));
        assert_eq!(engines.lock().len(), 3);
        // Used or not: his tokens could be as old as that.
        for (_, since) in engines.lock().values_mut() {
            *since -= rights::KEPT;
        }
        engines.of("a.example", Some(&login("alice")));
        assert_eq!(engines.lock().len(), 1);
        for number in 0..2 * MOST_CALLERS {
            engines.of("a.example", Some(&login(&format!("user{number}"))));
        }
        assert!(engines.lock().len() <= MOST_CALLERS);
    }
}
