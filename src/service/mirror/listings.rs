//! Tags and referrers: asked of the registry every time, and passed on as far as they are
//! what they should be.
//!
//! Specification: OCI distribution-spec 1.1, "Listing Tags", "Listing Referrers" and
//! "Unavailable Referrers API".

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::Inner;
use super::refusal::{Code, Refusal};
use super::reply::insert;
use super::upstream::Upstream;
use crate::core::descriptor::MediaType;
use crate::core::digest::Digest;
use crate::core::error::{Classify, Kind};
use crate::fetch::FetchError;
use crate::registry::Listing;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// The parameter and the field that referrers are filtered by.
const ARTIFACT_TYPE: &str = "artifactType";
/// Letters of the algorithm and digits of the digest in the tag that stands in for the API.
const TAG_PARTS: (usize, usize) = (32, 64);

impl Inner {
    /// Answers for a page of tags.
    pub(super) async fn tags(&self, upstream: &Upstream) -> Result<Response, Refusal> {
        let query = &upstream.asker.query;
        let number = query.iter().find(|(key, _)| key == "n");
        if let Some((_, number)) = number
            && (number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err(Refusal::new(Code::ParameterInvalid, format!("n={number} is not a number of tags")));
        }
        let asked = upstream.in_time(upstream.authority.tags(&upstream.reference, query)).await?;
        let listing = asked.map_err(|error| upstream.refusal(&error, Code::NameUnknown))?;
        let tags = strings(&listing).ok_or_else(|| malformed(upstream, "tags"))?;
        let document = json!({"name": upstream.reference.repository(), "tags": tags});
        Ok(page(upstream, ("tags/list", "application/json"), &document, listing.next))
    }

    /// Answers for a page of what refers to a manifest.
    pub(super) async fn referrers(&self, upstream: &Upstream, digest: &Digest) -> Result<Response, Refusal> {
        let listing = upstream.in_time(referrers(upstream, digest)).await?;
        let listing = listing.map_err(|error| upstream.refusal(&error, Code::NameUnknown))?;
        let mut index: Map<String, Value> =
            serde_json::from_slice(&listing.bytes).map_err(|_| malformed(upstream, "referrers"))?;
        let Some(Value::Array(manifests)) = index.get_mut("manifests") else {
            return Err(malformed(upstream, "referrers"));
        };
        let wanted = upstream.asker.query.iter().find(|(key, _)| key == ARTIFACT_TYPE).map(|(_, value)| value);
        if let Some(wanted) = wanted {
            manifests.retain(|manifest| manifest[ARTIFACT_TYPE].as_str() == Some(wanted));
        }
        let path = format!("referrers/{digest}");
        let media_type = MediaType::OciIndex;
        let mut response = page(upstream, (&path, media_type.as_str()), &Value::Object(index), listing.next);
        if wanted.is_some() {
            response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static(ARTIFACT_TYPE));
        }
        Ok(response)
    }
}

/// What refers to a manifest: by the API, or else by the tag that clients keep where there is
/// none, or else nothing.
async fn referrers(upstream: &Upstream, digest: &Digest) -> Result<Listing, FetchError> {
    match upstream.authority.referrers(&upstream.reference, digest, &upstream.asker.query).await {
        Err(error) if error.kind() == Kind::NotFound => {}
        result => return result,
    }
    let (letters, digits) = TAG_PARTS;
    let clipped = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let tag = format!("{}-{}", clipped(digest.algorithm().name(), letters), clipped(digest.hex(), digits));
    let bytes = match upstream.reference.with_tag(&tag) {
        Ok(reference) => match upstream.authority.root(&reference).await {
            Ok(document) => Some(document.content.into_content()),
            Err(error) if error.kind() == Kind::NotFound => None,
            Err(error) => return Err(error),
        },
        Err(_) => None,
    };
    let none = || json!({"schemaVersion": 2, "mediaType": MediaType::OciIndex, "manifests": []}).to_string().into();
    Ok(Listing { bytes: bytes.unwrap_or_else(none), next: None })
}

/// The tags of a page; some registries say null for none.
fn strings(listing: &Listing) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Tags {
        tags: Option<Vec<String>>,
    }
    serde_json::from_slice::<Tags>(&listing.bytes).ok().map(|page| page.tags.unwrap_or_default())
}

fn malformed(upstream: &Upstream, what: &str) -> Refusal {
    let message = format!("{} does not list {what} as the specification says", upstream.reference.registry());
    Refusal::new(Code::Unknown, message).with_status(http::StatusCode::BAD_GATEWAY)
}

/// A page, and where the next one is: at the same place here as this one.
fn page(
    upstream: &Upstream,
    (path, media_type): (&str, &str),
    document: &Value,
    next: Option<Vec<(String, String)>>,
) -> Response {
    let mut response = Response::new(Body::from(document.to_string()));
    insert(response.headers_mut(), CONTENT_TYPE, media_type);
    if let Some(query) = next {
        let asker = &upstream.asker;
        let namespace = asker.is_named.then(|| ("ns".to_owned(), asker.registry.clone()));
        let pairs: Vec<(String, String)> = query.into_iter().chain(namespace).collect();
        if let Ok(mut url) = Url::parse("query:/") {
            url.query_pairs_mut().extend_pairs(pairs);
            let query = url.query().unwrap_or_default();
            let link = format!("</v2/{}/{path}?{query}>; rel=\"next\"", upstream.reference.repository());
            insert(response.headers_mut(), LINK, &link);
        }
    }
    response
}
