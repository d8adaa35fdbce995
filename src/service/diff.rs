//! containerd's Diff service, served: a containerd 1.7 or newer that has us among its
//! `proxy_plugins` has its own pulls unpacked by our applier.
//!
//! Whatever is not ours to do (types that only its processors know, mounts of other file systems,
//! the making of diffs) is answered with UNIMPLEMENTED: containerd's diff-service goes on to the
//! next of its differs then, and finds everything as it was. Its transfer service has one differ
//! per snapshotter and no next one. containerd's own Diff service is never asked: it would ask us.
//!
//! Facts: containerd 1.7 to 2.x, `services/diff/local.go` and `diff/apply`.

use std::time::Instant;

use containerd_client::services::v1::{ApplyRequest, ApplyResponse, DiffRequest, DiffResponse};
use containerd_client::types;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::generated::diff::diff_server::{Diff, DiffServer, SERVICE_NAME};
use super::status::grpc_code;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::error::{Classify, Kind};
use crate::pulls::Pulls;
use crate::unpack::containerd::{Application, Applied, ApplyError};
use crate::unpack::options::Durability;

/// Name of the service, for health checks.
pub const SERVICE: &str = SERVICE_NAME;

/// What containerd calls a layer that is not compressed.
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// Where containerd names a namespace, if it does.
const NAMESPACE: &str = "containerd-namespace";

/// Applies layers with what `pulls` has.
#[must_use]
pub fn server(pulls: Pulls) -> DiffServer<impl Diff> {
    DiffServer::new(Differ { pulls })
}

#[derive(Debug)]
struct Differ {
    pulls: Pulls,
}

#[tonic::async_trait]
impl Diff for Differ {
    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let namespace = namespace(request.metadata());
        let application = application(request.into_inner())?;
        let (layer, begun) = (application.layer.digest.clone(), Instant::now());
        let applied = self.pulls.apply(namespace, application).await;
        match &applied {
            Ok(_) => tracing::info!(%layer, seconds = begun.elapsed().as_secs_f64(), "unpacked for containerd"),
            Err(ApplyError::NotTaken(reason)) => tracing::info!(%layer, reason, "left to another differ"),
            Err(error) => tracing::warn!(%layer, %error, "cannot unpack for containerd"),
        }
        let applied = applied.map_err(|error| Status::new(grpc_code(error.kind()), error.to_string()))?;
        Ok(Response::new(ApplyResponse { applied: Some(descriptor(&applied)) }))
    }

    async fn diff(&self, _: Request<DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        Err(Status::new(grpc_code(Kind::Unsupported), "lighterman makes no diffs"))
    }
}

fn namespace(metadata: &MetadataMap) -> Option<String> {
    metadata.get(NAMESPACE)?.to_str().ok().map(str::to_owned).filter(|name| !name.is_empty())
}

/// What a request asks for.
///
/// # Errors
/// INVALID_ARGUMENT where that is no layer. Whether its mounts are familiar is seen later.
pub fn application(request: ApplyRequest) -> Result<Application, Status> {
    let malformed = |reason: String| Status::new(grpc_code(Kind::InvalidArgument), reason);
    // Payloads are for stream processors, which only types have that are not ours. CRI sends those
    // for decryption along with every layer.
    let ApplyRequest { diff, mounts, payloads: _, sync_fs } = request;
    let Some(diff) = diff else { return Err(malformed("there is no descriptor of a layer".into())) };
    let digest = diff.digest.parse().map_err(|error| malformed(format!("{error}")))?;
    let size = u64::try_from(diff.size).map_err(|_| malformed(format!("a layer of {} bytes", diff.size)))?;
    let layer = Descriptor::new(MediaType::parse(&diff.media_type), digest, size);
    let durability = if sync_fs { Durability::Synced } else { Durability::Cached };
    Ok(Application { layer, mounts, durability })
}

fn descriptor(applied: &Applied) -> types::Descriptor {
    types::Descriptor {
        media_type: TAR.into(),
        digest: applied.diff_id.to_string(),
        size: i64::try_from(applied.size).unwrap_or(i64::MAX),
        ..types::Descriptor::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;

    use super::*;
    use crate::core::digest::Digest;

    fn request() -> ApplyRequest {
        let diff = types::Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
            digest: Digest::of(b"layer").to_string(),
            size: 5,
            ..types::Descriptor::default()
        };
        ApplyRequest { diff: Some(diff), ..ApplyRequest::default() }
    }

    fn code(change: impl FnOnce(&mut ApplyRequest)) -> Option<Code> {
        let mut request = request();
        change(&mut request);
        application(request).err().map(|status| status.code())
    }

    #[test]
    fn requests_are_understood_or_refused() {
        assert_eq!(code(|_| {}), None);
        assert_eq!(code(|request| request.diff = None), Some(Code::InvalidArgument));
        let with = |change: fn(&mut types::Descriptor)| code(|request| request.diff.iter_mut().for_each(change));
        assert_eq!(with(|diff| diff.digest = "sha256:../../etc".into()), Some(Code::InvalidArgument));
        assert_eq!(with(|diff| diff.size = -1), Some(Code::InvalidArgument));
        let payload = HashMap::from([("io.containerd.ocicrypt.v1.Payload".to_owned(), Default::default())]);
        assert_eq!(code(|request| request.payloads = payload), None);
    }

    #[test]
    fn durability_is_what_containerd_asks_for() {
        let durability =
            |sync_fs| application(ApplyRequest { sync_fs, ..request() }).expect("is well formed").durability;
        assert_eq!((durability(false), durability(true)), (Durability::Cached, Durability::Synced));
    }

    #[test]
    fn the_namespace_is_a_header_that_may_be_missing() {
        let mut metadata = MetadataMap::new();
        assert_eq!(namespace(&metadata), None);
        metadata.insert(NAMESPACE, "k8s.io".parse().expect("a header"));
        assert_eq!(namespace(&metadata).as_deref(), Some("k8s.io"));
    }
}
