//! A read-only registry on loopback that gets what it does not have from upstream.
//!
//! For hosts.toml and docker's `registry-mirrors`: a client asks for `NAME` of the registry
//! that `?ns=` names, and the mirror answers from what is on this node, or fetches it with the
//! engine of this process and passes it on while it arrives. Nothing is written to any store.
//!
//! ```text
//! route      method and path -> what is asked for
//! asker      query and Authorization -> which registry, with whose credentials
//! upstream   the hosts of that registry; one engine per caller's credentials
//! rights     what upstream has granted to whom, for minutes
//! possession     whether upstream has what a store has
//! manifests, blobs, listings     the answers
//! body       a blob to a client while it arrives; the end is held back until the digest held
//! refusal    what went wrong -> the specification's error document
//! cache      where blobs are kept, and how much of the disk they may take
//! meter, counted     how requests end, for whoever counts
//! layout     the same protocol over one OCI layout, without any upstream
//! ```
//!
//! Which requests are heard at all, and how many clients at a time, is decided by
//! [`crate::loopback`].
//!
//! **Who gets what.** Everything that is given to a caller, upstream has granted to this
//! caller, for this repository and digest, minutes ago at the most: it answered a HEAD of ours
//! that carried his credentials, or none where he gave none. Only the registry itself can
//! grant, not its mirrors, unless the operator has named mirrors alone. The node's own
//! credentials are never used, and the caller's go to the registry that he asked for and
//! nowhere else.
//!
//! **How clients know.** `/v2/` is open to everybody and says in `WWW-Authenticate` all the same
//! that credentials can make a difference (RFC 9110, section 11.6.1). skopeo and podman send theirs
//! only where that says so; docker and containerd go by the 401 that a private image is answered with.
//!
//! **Whose bytes.** A registry can only grant what came from it. Blobs that came from another
//! one are not served and not joined while they arrive, since whoever runs a registry can have
//! it grant anything. So the cache is divided by registry, and content of a store counts only
//! where the store was told that it is from there, which pulls tell it of whatever a registry lists, and
//! where the registry shows that it has it (`possession`). Only blobs are served from stores.
//!
//! **Where we go.** `ns` comes from strangers, so a registry that no operator has named is only
//! reached at public addresses that are not our own, and what it redirects to as well. We never ask ourselves: our
//! address is skipped in hosts.toml, and a request that has passed here once is refused.
//!
//! Clients verify what they get, and this mirror before them. What is passed on of an arriving
//! blob before its digest is known never makes a whole.
//!
//! Specifications: OCI distribution-spec 1.1 (pull, content discovery); RFC 9110 (ranges,
//! conditional requests, Via, authentication).

mod asker;
mod blobs;
mod body;
mod cache;
mod counted;
pub mod layout;
mod listings;
mod manifests;
mod meter;
mod possession;
mod range;
mod refusal;
mod reply;
mod rights;
mod route;
mod serve;
mod settings;
mod upstream;
mod via;

use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use crate::fetch::Engine;
use asker::Asker;
use cache::Cache;
use possession::Places;
use refusal::Refusal;
use rights::Rights;
use route::{Route, route};
use upstream::Engines;

pub use meter::{Asked, Meter, Outcome, Source};
pub use serve::serve;
pub use settings::{Home, Settings};

/// The mirror; clones share it.
#[derive(Debug, Clone)]
pub struct Mirror(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    home: Home,
    settings: RwLock<Arc<Settings>>,
    engines: Engines,
    rights: Rights,
    places: Places,
    cache: Cache,
    /// What we are called in `Via`, unlike every other mirror.
    pseudonym: String,
}

impl Mirror {
    /// A mirror that fetches with `engine`, whose credentials it does not use.
    #[must_use]
    pub fn new(engine: &Engine, home: Home, settings: Settings) -> Self {
        Self(Arc::new(Inner {
            engines: Engines::new(engine),
            rights: Rights::default(),
            places: Places::default(),
            cache: Cache::new(home.cache.clone(), engine.limits()),
            pseudonym: via::pseudonym(),
            settings: RwLock::new(Arc::new(settings.without_identity())),
            home,
        }))
    }

    /// Goes by other settings from the next request on. What was granted under those before is
    /// asked for again.
    pub fn set(&self, settings: Settings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings.without_identity());
        self.0.rights.forget();
    }
}

/// The mirror's endpoints, to be served over HTTP/1.1 with [`serve()`].
pub fn router(mirror: Mirror) -> Router {
    Router::new().fallback(answer).with_state(mirror)
}

async fn answer(State(Mirror(mirror)): State<Mirror>, request: Request) -> Response {
    let settings = mirror.settings();
    let (asked, result) = match mirror.read(&request, &settings) {
        Ok((route, asker)) => {
            let is_head = request.method() == http::Method::HEAD;
            let asked = route.asked();
            (asked, Box::pin(mirror.serve((is_head, request.headers()), route, asker, settings)).await)
        }
        Err(refusal) => (Asked::Other, Err(refusal)),
    };
    counted::counted(reply::finish(result), asked, Arc::clone(&mirror.home.meter))
}

impl Inner {
    fn settings(&self) -> Arc<Settings> {
        // Whole after any panic: it is replaced as a whole.
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a request asks for, and who asks; refuses what this mirror has sent itself.
    fn read(&self, request: &Request, settings: &Settings) -> Result<(Route, Asker), Refusal> {
        let (uri, headers) = (request.uri(), request.headers());
        via::check(headers, &self.pseudonym)?;
        let route = route(request.method(), uri.path())?;
        let asker = Asker::read(uri.query().unwrap_or_default(), headers, &settings.upstream)?;
        Ok((route, asker))
    }

    async fn serve(
        &self,
        (is_head, headers): (bool, &HeaderMap),
        route: Route,
        asker: Asker,
        settings: Arc<Settings>,
    ) -> Result<Response, Refusal> {
        let (name, target) = match route {
            Route::Base => return Ok(base(&asker)),
            Route::Of { name, target } => (name, target),
        };
        let upstream = self.upstream(&name, asker, settings).await?;
        match target {
            route::Target::Manifest(which) => self.manifest(&upstream, &which, is_head).await,
            route::Target::Blob(digest) => self.blob(&upstream, &digest, (is_head, headers)).await,
            route::Target::Tags => self.tags(&upstream).await,
            route::Target::Referrers(digest) => self.referrers(&upstream, &digest).await,
        }
    }
}

/// That this is a registry, and that credentials can make a difference.
fn base(asker: &Asker) -> Response {
    let mut response = Response::new(Body::empty());
    reply::insert(response.headers_mut(), WWW_AUTHENTICATE, &refusal::basic(&asker.registry));
    response
}
