//! A read-only registry on loopback that gets what it does not have from upstream.
//!
//! For hosts.toml and docker's `registry-mirrors`: a client asks for `NAME` of the registry
//! that `?ns=` names, and the mirror answers from what is on this node, or fetches it with the
//! engine of this process and passes it on while it arrives. Nothing is written to any store.
//!
//! ```text
//! guard      which requests are heard at all
//! route      method and path -> what is asked for
//! asker      query and Authorization -> which registry, with whose credentials
//! upstream   the hosts of that registry; one engine per caller's credentials
//! rights     what upstream has granted to whom, for minutes
//! manifests, blobs, listings     the answers
//! body       a blob to a client while it arrives; the end is held back until the digest held
//! refusal    what went wrong -> the specification's error document
//! layout     the same protocol over one OCI layout, without any upstream
//! ```
//!
//! **Who gets what.** Everything that is given to a caller, upstream has granted to this
//! caller, for this repository and digest, minutes ago at the most: it answered a HEAD of ours
//! that carried his credentials, or none where he gave none. Only the registry itself can
//! grant, not its mirrors, unless the operator has named mirrors alone. The node's own
//! credentials are never used, and the caller's go to the registry that he asked for and
//! nowhere else.
//!
//! **Whose bytes.** A registry can only grant what came from it. Blobs that came from another
//! one are not served and not joined while they arrive, since whoever runs a registry can have
//! it grant anything. So the cache is divided by registry, and content of a store counts only
//! where the store knows it to be from there.
//!
//! **Where we go.** `ns` comes from strangers, so a registry that no operator has named is only
//! reached at public addresses, and what it redirects to as well. We never ask ourselves: our
//! address is skipped in hosts.toml, and a request that has passed here once is refused.
//!
//! Clients verify what they get, and this mirror before them. What is passed on of an arriving
//! blob before its digest is known never makes a whole.
//!
//! Specifications: OCI distribution-spec 1.1 (pull, content discovery); RFC 9110 (ranges,
//! conditional requests, Via); the Fetch standard (`Origin`, `Sec-Fetch-Site`).

mod asker;
mod blobs;
mod body;
mod cache;
mod guard;
pub mod layout;
mod listings;
mod manifests;
mod range;
mod refusal;
mod reply;
mod rights;
mod route;
mod serve;
mod settings;
mod upstream;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;

use crate::fetch::Engine;
use crate::store::Store;
use asker::Asker;
use cache::Cache;
use refusal::Refusal;
use rights::Rights;
use route::{Route, route};
use upstream::Engines;

pub use serve::serve;
pub use settings::Settings;

/// The mirror; clones share it.
#[derive(Debug, Clone)]
pub struct Mirror(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    engines: Engines,
    rights: Rights,
    cache: Cache,
    stores: Vec<Arc<dyn Store>>,
    /// What we are called in `Via`, unlike every other mirror.
    pseudonym: String,
}

impl Mirror {
    /// A mirror that fetches with `engine`, whose credentials it does not use, and serves from
    /// `stores` what they have.
    #[must_use]
    pub fn new(engine: &Engine, settings: Settings, stores: Vec<Arc<dyn Store>>) -> Self {
        let settings = settings.without_identity();
        let cache = Cache::new(settings.cache.clone(), engine.limits());
        Self(Arc::new(Inner {
            engines: Engines::new(engine),
            rights: Rights::default(),
            cache,
            stores,
            pseudonym: guard::pseudonym(),
            settings,
        }))
    }
}

/// The mirror's endpoints, to be served over HTTP/1.1 with [`serve`].
pub fn router(mirror: Mirror) -> Router {
    Router::new().fallback(answer).with_state(mirror)
}

async fn answer(State(Mirror(mirror)): State<Mirror>, request: Request) -> Response {
    let head = mirror.read(&request);
    let response = match head {
        Ok((route, asker)) => {
            let is_head = request.method() == http::Method::HEAD;
            Box::pin(mirror.serve(is_head, request.headers(), route, asker)).await
        }
        Err(refusal) => Err(refusal),
    };
    reply::finish(response)
}

impl Inner {
    /// What a request asks for, and who asks; refuses what is not heard.
    fn read(&self, request: &Request) -> Result<(Route, Asker), Refusal> {
        let (uri, headers) = (request.uri(), request.headers());
        guard::check(uri, headers, &self.settings.listen)?;
        guard::check_loop(headers, &self.pseudonym)?;
        let route = route(request.method(), uri.path())?;
        let asker = Asker::read(uri.query().unwrap_or_default(), headers, &self.settings.upstream)?;
        Ok((route, asker))
    }

    async fn serve(&self, is_head: bool, headers: &HeaderMap, route: Route, asker: Asker) -> Result<Response, Refusal> {
        let (name, target) = match route {
            Route::Base => return Ok(Response::new(Body::empty())),
            Route::Of { name, target } => (name, target),
        };
        let upstream = self.upstream(&name, asker)?;
        match target {
            route::Target::Manifest(which) => self.manifest(&upstream, &which, is_head).await,
            route::Target::Blob(digest) => self.blob(&upstream, &digest, (is_head, headers)).await,
            route::Target::Tags => self.tags(&upstream).await,
            route::Target::Referrers(digest) => self.referrers(&upstream, &digest).await,
        }
    }
}
