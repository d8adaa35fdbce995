//! What a PullImage that failed is told, or whether containerd is to try it itself.
//!
//! kubelet shows the text to people and keeps it in the pod's state, so it is one line, and says
//! all of it: what happened, who has to act, and what to do.

use tonic::{Code, Status};

use super::error::CriError;
use crate::core::error::{Blame, Classify, Kind};
use crate::core::reference::Reference;
use crate::core::text::one_line;
use crate::pulls::PullsError;
use crate::service::status::cri_code;

/// Bytes of a message: it travels in a header, which clients bound.
const MAX_MESSAGE: usize = 2 * 1024;

/// The answer; `None` where the failure says nothing about the image or its registry, so that
/// containerd's own pull may succeed.
pub(super) fn status(error: &CriError, reference: &Reference) -> Option<Status> {
    let (code, name) = match error {
        // As the watchdog of containerd's own pull ends it.
        CriError::Pull(PullsError::NoProgress { .. }) => (Code::Cancelled, ""),
        CriError::Annotation { .. } => (Code::InvalidArgument, ""),
        // containerd found fault with how this node asks it, and not with the image.
        CriError::Pull(failed) if error.kind() == Kind::InvalidArgument && failed.is_about_the_store() => return None,
        error => cri_code(error.kind())?,
    };
    let advice = advice(error).map(|advice| format!("; {advice}")).unwrap_or_default();
    let text = format!(
        "{name}failed to pull and unpack image \"{reference}\": {error}; to blame is {blame}{advice}",
        blame = error.blame()
    );
    Some(Status::new(code, one_line(&text, MAX_MESSAGE)))
}

/// What to do, in the words of a cluster; our hints speak of flags here and there.
fn advice(error: &CriError) -> Option<String> {
    let advice = match error.kind() {
        Kind::Unauthenticated | Kind::PermissionDenied if error.blame() == Blame::Caller => {
            "give the pod an imagePullSecret, or the node a credential provider, that opens this repository"
        }
        Kind::NotFound => {
            "correct the name; some registries also say so of what the pod's imagePullSecrets do not open"
        }
        Kind::PlatformMismatch => {
            "build the image for this node or run the pod on another one; where the node leaves it to pods, the \
             pod annotation lighterman.dev/arch-mismatch: \"allow\" pulls it all the same"
        }
        Kind::RateLimited => "it is tried again; an imagePullSecret or a mirror raises the limit",
        Kind::RegistryUnavailable | Kind::DeadlineExceeded => "it is tried again, and goes on from what was downloaded",
        _ => return error.hint().filter(|hint| !hint.contains("--")),
    };
    Some(advice.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::descriptor::MediaType;
    use crate::core::digest::Digest;
    use crate::core::manifest::ManifestError;
    use crate::core::platform::Platform;
    use crate::pull::PullError;
    use crate::resolve::ResolveError;
    use crate::store::StoreError;
    use crate::store::error::RemoteCode;
    use crate::unpack::UnpackError;
    use crate::unpack::archive::{ArchiveError, Fault};
    use crate::unpack::inflate::InflateError;
    use crate::unpack::layer::LayerError;
    use crate::unpack::tree::{Shown, TreeError};

    fn told(error: impl Into<PullsError>) -> Option<Status> {
        status(&CriError::Pull(error.into()), &"quay.io/a:v1".parse().expect("well formed"))
    }

    #[test]
    fn a_refusal_begins_as_containerds_does_and_is_one_line() {
        let error = ResolveError::NoMatch {
            reference: "quay.io/a:v1".into(),
            wanted: Platform::linux("amd64", ""),
            available: vec!["linux/arm64\n".into(), "x".repeat(5000)],
            advice: None,
        };
        let status = told(error).expect("is told");
        assert_eq!(status.code(), Code::NotFound);
        let text = status.message();
        assert!(text.starts_with("failed to pull and unpack image \"quay.io/a:v1\": quay.io/a:v1 has no"), "{text}");
        assert!(!text.contains('\n') && text.len() < MAX_MESSAGE + 4, "{text}");
    }

    #[test]
    fn an_annotation_that_means_nothing_is_quoted() {
        let error = CriError::Annotation {
            name: "lighterman.dev/isa-level",
            value: "yes\nplease".into(),
            takes: "\"true\" or \"false\"",
        };
        let status = status(&error, &"quay.io/a:v1".parse().expect("well formed")).expect("is told");
        assert_eq!(status.code(), Code::InvalidArgument);
        let text = status.message();
        assert!(text.starts_with("failed to pull and unpack image \"quay.io/a:v1\": the pod annotation"), "{text}");
        assert!(text.contains("to blame is the request; correct the pod's metadata.annotations"), "{text}");
    }

    #[test]
    fn no_progress_ends_as_in_containerd() {
        let status = told(PullsError::NoProgress { after: Duration::from_secs(300) }).expect("is told");
        assert_eq!(status.code(), Code::Cancelled);
        assert!(status.message().starts_with("failed to pull and unpack image"), "{status:?}");
    }

    #[test]
    fn flags_of_the_command_line_are_not_recommended_to_kubelet() {
        let mismatch = ResolveError::CannotRun {
            reference: "quay.io/a:v1".into(),
            image: Platform::linux("386", ""),
            reason: "this CPU cannot".into(),
        };
        let text = told(mismatch).expect("is told").message().to_owned();
        assert!(!text.contains("--") && text.contains("lighterman.dev/arch-mismatch"), "{text}");
    }

    fn of_layer(error: LayerError) -> PullError {
        PullError::Unpack(UnpackError::of_layer(&Digest::of(b"layer"), error))
    }

    fn of_document(source: ManifestError) -> PullError {
        PullError::Resolve(ResolveError::Document { what: "quay.io/a:v1".into(), source })
    }

    #[test]
    fn what_is_over_a_limit_ambiguous_or_damaged_is_told() {
        let kind = |text: &str| MediaType::Other(text.into());
        let digest = || Digest::of(b"layer");
        let refused: Vec<PullError> = vec![
            of_document(ManifestError::TooLarge { size: 5 << 20, limit: 4 << 20 }),
            of_document(ManifestError::TooMany { what: "layers", count: 501, limit: 500 }),
            of_document(ManifestError::Malformed { what: "index", reason: "it is not JSON".into() }),
            of_document(ManifestError::Ambiguous("layers")),
            of_document(ManifestError::OddKey { key: "Manifests".into(), known: "manifests" }),
            of_document(ManifestError::Repeated("manifests")),
            of_document(ManifestError::WrongMediaType { announced: kind("a"), declared: kind("b") }),
            of_document(ManifestError::Foreign(kind("text/html"))),
            PullError::Resolve(ResolveError::TooManyDocuments { reference: "a".into(), limit: 8 << 20 }),
            of_layer(LayerError::Tree(TreeError::TooLarge { whose: "the layer", what: "bytes in files", limit: 1 })),
            of_layer(ArchiveError::Archive(Fault::TooLarge { what: "a pax header", limit: 1 }).into()),
            of_layer(ArchiveError::Archive(Fault::Malformed { reason: "a header", offset: 0 }).into()),
            of_layer(LayerError::Inflated { size: 1, limit: 500 }),
            of_layer(LayerError::Inflate(InflateError::Truncated { format: "gzip" })),
            of_layer(LayerError::DiffId { expected: digest(), actual: Digest::of(b"another") }),
            PullError::Unpack(UnpackError::LayerCount { layers: 2, diff_ids: 1 }),
            of_layer(LayerError::Tree(TreeError::NoRoom {
                dir: "/disk".into(),
                free: "1 MiB".into(),
                whole: "1 GiB".into(),
                floor: "20 MiB".into(),
            })),
        ];
        for error in refused {
            let text = error.to_string();
            assert!(told(error).is_some(), "containerd would pull it all the same: {text}");
        }
    }

    #[test]
    fn failures_of_our_own_are_left_to_containerd() {
        let layer = UnpackError::UnknownLayer {
            digest: Digest::of(b"layer"),
            media_type: MediaType::Other("application/encrypted".into()),
            reason: "no processor".into(),
        };
        let invalid = || StoreError::Containerd {
            action: "prepare a snapshot",
            message: "no such snapshotter".into(),
            code: RemoteCode::InvalidArgument,
        };
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let left: Vec<PullError> = vec![
            PullError::Unpack(layer),
            PullError::Unpack(UnpackError::OddLayers { others: 1 }),
            of_document(ManifestError::Schema1),
            invalid().into(),
            PullError::Unpack(invalid().into()),
            PullError::Resolve(invalid().into()),
            StoreError::UnsupportedDigest { store: "containerd".into(), digest: "sha512:00".into() }.into(),
            of_layer(LayerError::Tree(TreeError::Io { action: "create", path: Shown::new(b"a"), source: denied })),
        ];
        for error in left {
            let text = error.to_string();
            assert!(told(error).is_none(), "containerd could have pulled it: {text}");
        }
        assert!(told(StoreError::Thread("it died".into())).is_none());
        assert!(told(PullError::Cancelled).is_some());
    }
}
