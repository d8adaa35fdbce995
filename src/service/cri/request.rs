//! What a PullImage asks for, and whether that is ours to do.

use bytes::Bytes;
use prost::Message;
use tonic::Request;
use tonic::metadata::MetadataMap;

use super::error::CriError;
use super::v1::{AuthConfig, ImageSpec, PodSandboxConfig, PullImageRequest};
use crate::core::digest::Digest;
use crate::core::mismatch::{Action, Asked};
use crate::core::reference::Reference;
use crate::core::trace::TraceContext;
use crate::pulls::{Door, Order, Place};
use crate::registry::{Audience, Credentials, Secret};
use crate::resolve::choice::Level;

/// The namespace of containerd's CRI.
const NAMESPACE: &str = "k8s.io";
/// Annotation: what to do with an image that does not run here.
const ARCH_MISMATCH: &str = "lighterman.dev/arch-mismatch";
/// Annotation: a short way to say `allow` in the one above.
const ALLOW_MISMATCH: &str = "lighterman.dev/allow-mismatch";
/// Annotation: choose what is built for exactly this CPU.
const ISA_LEVEL: &str = "lighterman.dev/isa-level";
/// Annotation of containerd: which runtime a pod is for, and by that which snapshotter. Whoever
/// writes a pod can set it, so it opens no way around us.
const RUNTIME_HANDLER: &str = "io.containerd.cri.runtime-handler";

/// Whose work a request is.
#[derive(Debug)]
pub enum Work {
    /// Ours.
    Ours(Box<Order>),
    /// Ours, and then containerd's: what we refuse is refused, and what we bring may be needed in
    /// another snapshotter as well.
    Shared(Box<Order>),
    /// containerd's, for this reason.
    Runtimes(&'static str),
    /// Nobody's: the pod says something that means nothing.
    Nobodys(Reference, CriError),
}

/// Reads a PullImageRequest.
#[must_use]
pub fn read(request: &Request<Bytes>) -> Work {
    let message = request.get_ref().clone();
    let Ok(PullImageRequest { image, auth, sandbox_config }) = PullImageRequest::decode(message) else {
        return Work::Runtimes("it cannot be read");
    };
    let image = image.unwrap_or_default();
    if is_id(&image.image) {
        return Work::Runtimes("it names an image ID, and no registry");
    }
    let Ok(reference) = image.image.parse::<Reference>() else {
        return Work::Runtimes("its image is no reference");
    };
    let pod = sandbox_config.unwrap_or_default();
    // kubelet's own word, from a RuntimeClass that the cluster's administrators made.
    if !image.runtime_handler.is_empty() {
        return Work::Runtimes("it names a runtime, which may have a snapshotter of its own");
    }
    let Some(credentials) = credentials(auth.unwrap_or_default()) else {
        return Work::Runtimes("its auth is not base64 of NAME:PASSWORD");
    };
    let options = match Options::read(&image, &pod) {
        Ok(options) => options,
        Err(error) => return Work::Nobodys(reference, error),
    };
    let trace = trace(request.metadata());
    let order = Box::new(Order { trace, ..order(reference, &options, credentials) });
    // kubelet sends the pod's annotations with the image as well.
    let names_runtime = [&image.annotations, &pod.annotations].iter().any(|set| set.contains_key(RUNTIME_HANDLER));
    if names_runtime { Work::Shared(order) } else { Work::Ours(order) }
}

/// What a pod says of its pulls.
#[derive(Debug)]
struct Options {
    isa_level: bool,
    on_mismatch: Asked,
}

impl Options {
    /// kubelet sends a pod's annotations with the image and with the pod, depending on its version;
    /// those of the image come first.
    fn read(image: &ImageSpec, pod: &PodSandboxConfig) -> Result<Self, CriError> {
        let value = |name| image.annotations.get(name).or_else(|| pod.annotations.get(name)).map(String::as_str);
        let is_set = |name| match value(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(value) => Err(CriError::Annotation { name, value: value.into(), takes: "\"true\" or \"false\"" }),
        };
        let takes = "\"refuse\", \"warn\" or \"allow\"";
        let unknown = |value: &str| CriError::Annotation { name: ARCH_MISMATCH, value: value.into(), takes };
        let named =
            value(ARCH_MISMATCH).map(|name| Action::from_name(name).ok_or_else(|| unknown(name))).transpose()?;
        let on_mismatch = match (named, is_set(ALLOW_MISMATCH)?) {
            (Some(action), _) => Asked::Pod(action),
            (None, true) => Asked::Pod(Action::Allow),
            (None, false) => Asked::Nobody,
        };
        Ok(Self { isa_level: is_set(ISA_LEVEL)?, on_mismatch })
    }
}

fn order(reference: Reference, options: &Options, credentials: Credentials) -> Order {
    Order {
        reference,
        platforms: Vec::new(),
        all_platforms: false,
        level: if options.isa_level { Level::Cpu } else { Level::Containerd },
        on_mismatch: options.on_mismatch,
        place: Place { namespace: Some(NAMESPACE.into()), snapshotter: None },
        unpack: true,
        // Always some, even if they are none: those of the node are not a pod's.
        credentials: Some(credentials),
        door: Door::Cri,
        trace: None,
    }
}

fn trace(metadata: &MetadataMap) -> Option<TraceContext> {
    TraceContext::parse(metadata.get("traceparent")?.to_str().ok()?)
}

/// An image ID, with or without its algorithm. Shorter ones cannot be told from names.
fn is_id(image: &str) -> bool {
    image.parse::<Digest>().is_ok() || format!("sha256:{image}").parse::<Digest>().is_ok()
}

/// What opens the host that a request names, or whichever host of its image asks where it names
/// none; `None` where it cannot be read.
fn credentials(auth: AuthConfig) -> Option<Credentials> {
    let audience = match auth.server_address {
        server if server.is_empty() => Audience::Hosts,
        server => Audience::Server(server),
    };
    let none = Credentials::anonymous().for_audience(audience);
    if !auth.username.is_empty() {
        return Some(none.with_login(auth.username, Secret::new(auth.password)));
    }
    if !auth.identity_token.is_empty() {
        return Some(none.with_identity_token(Secret::new(auth.identity_token)));
    }
    if !auth.auth.is_empty() {
        return none.with_auth(&Secret::new(auth.auth));
    }
    if !auth.registry_token.is_empty() {
        return Some(none.with_registry_token(Secret::new(auth.registry_token)));
    }
    Some(none)
}

#[cfg(test)]
mod tests {
    use super::super::v1::PodSandboxConfig;
    use super::*;
    use crate::registry::{Credential, HostOptions, hosts_for};

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn spec(image: &str, annotations: &[(&str, &str)]) -> ImageSpec {
        let annotations = annotations.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        ImageSpec { image: image.into(), annotations, ..ImageSpec::default() }
    }

    fn sent_as(message: impl Into<Bytes>) -> Work {
        read(&Request::new(message.into()))
    }

    fn asked(image: ImageSpec) -> Work {
        sent_as(PullImageRequest { image: Some(image), ..PullImageRequest::default() }.encode_to_vec())
    }

    fn ours(work: Work) -> Order {
        match work {
            Work::Ours(order) => *order,
            other => panic!("it is not ours: {other:?}"),
        }
    }

    #[test]
    fn every_form_of_a_name_is_ours() {
        let digest = format!("quay.io/a/b@sha256:{HEX}");
        let both = format!("quay.io/a/b:v1@sha256:{HEX}");
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("quay.io/a/b", "quay.io/a/b:latest"),
            ("quay.io/a/b:v1", "quay.io/a/b:v1"),
            (&digest, &digest),
            (&both, &both),
        ];
        for (image, reference) in cases {
            let order = ours(asked(spec(image, &[])));
            assert_eq!(order.reference.to_string(), reference);
            assert_eq!(order.place.namespace.as_deref(), Some(NAMESPACE));
            assert!(order.credentials.is_some(), "the node's own would be used");
            assert_eq!((order.level, order.on_mismatch), (Level::Containerd, Asked::Nobody));
        }
    }

    #[test]
    fn what_only_containerd_can_answer_is_left_to_it() {
        let id = format!("sha256:{HEX}");
        let handler = ImageSpec { runtime_handler: "gvisor".into(), ..spec("busybox", &[]) };
        for image in [spec("", &[]), spec("quay.io/UPPER/case", &[]), spec(HEX, &[]), spec(&id, &[]), handler] {
            let text = image.image.clone();
            assert!(matches!(asked(image), Work::Runtimes(_)), "{text:?}");
        }
        assert!(matches!(sent_as(&b"\xff"[..]), Work::Runtimes(_)));
        assert!(matches!(sent_as(Bytes::new()), Work::Runtimes(_)));
    }

    #[test]
    fn annotations_are_options() {
        let order = |annotations: &[(&str, &str)]| ours(asked(spec("busybox", annotations)));
        let mismatch = |annotations: &[(&str, &str)]| order(annotations).on_mismatch;
        assert_eq!(mismatch(&[(ALLOW_MISMATCH, "true")]), Asked::Pod(Action::Allow));
        assert_eq!(mismatch(&[(ALLOW_MISMATCH, "false")]), Asked::Nobody);
        for action in Action::ALL {
            assert_eq!(mismatch(&[(ARCH_MISMATCH, action.name())]), Asked::Pod(action));
            assert_eq!(mismatch(&[(ARCH_MISMATCH, action.name()), (ALLOW_MISMATCH, "true")]), Asked::Pod(action));
        }
        assert_eq!(order(&[(ISA_LEVEL, "true")]).level, Level::Cpu);
        assert_eq!(order(&[("example.org/allow-mismatch", "yes")]).on_mismatch, Asked::Nobody);
    }

    /// With annotations of the image and of the pod that it is for.
    fn within(image: &[(&str, &str)], pod: &[(&str, &str)]) -> Work {
        let annotations = pod.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let request = PullImageRequest {
            image: Some(spec("busybox", image)),
            sandbox_config: Some(PodSandboxConfig { annotations }),
            ..PullImageRequest::default()
        };
        sent_as(request.encode_to_vec())
    }

    #[test]
    fn annotations_of_the_pod_count_where_the_image_has_none() {
        for (image, pod, expected) in [
            (None, Some("true"), Asked::Pod(Action::Allow)),
            (Some("false"), Some("true"), Asked::Nobody),
            (Some("true"), Some("false"), Asked::Pod(Action::Allow)),
            (None, None, Asked::Nobody),
        ] {
            let [image, pod] = [image, pod].map(|value| value.map(|value| (ALLOW_MISMATCH, value)));
            assert_eq!(ours(within(image.as_slice(), pod.as_slice())).on_mismatch, expected, "{image:?} {pod:?}");
        }
        assert_eq!(ours(within(&[], &[(ISA_LEVEL, "true")])).level, Level::Cpu);
    }

    #[test]
    fn a_runtime_that_a_pod_names_does_not_keep_us_out() {
        let named = [(RUNTIME_HANDLER, "gvisor"), (ARCH_MISMATCH, "refuse")];
        for work in [within(&named, &[]), within(&[], &named), within(&named, &named)] {
            let Work::Shared(order) = work else { panic!("it is not looked at: {work:?}") };
            assert_eq!(order.on_mismatch, Asked::Pod(Action::Refuse));
        }
        assert!(matches!(within(&[(RUNTIME_HANDLER, "")], &[(ARCH_MISMATCH, "x")]), Work::Nobodys(..)));
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for name in [ALLOW_MISMATCH, ISA_LEVEL, ARCH_MISMATCH] {
            for value in ["yes", "True", "1", "", " true", "Warn", "deny"] {
                for work in [within(&[(name, value)], &[]), within(&[], &[(name, value)])] {
                    let Work::Nobodys(_, error) = work else { panic!("{name}: {value:?} is taken: {work:?}") };
                    let told = error.to_string();
                    assert!(told.contains(name) && told.contains(&format!("{value:?}")), "{told}");
                }
            }
        }
    }

    async fn sent(auth: AuthConfig, image: &str) -> Option<Credential> {
        let reference: Reference = image.parse().expect("well formed");
        let hosts = hosts_for(&reference, &HostOptions::default()).expect("hosts");
        let upstream = hosts.iter().find(|host| host.is_upstream()).expect("an upstream");
        credentials(auth).expect("readable").for_host(upstream).await.expect("explicit ones")
    }

    fn basic(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Basic { user: user.into(), password: Secret::new(password) })
    }

    #[tokio::test]
    async fn the_first_of_four_ways_counts() {
        let mut auth = AuthConfig {
            username: "ann".into(),
            password: "pier".into(),
            // bob:quay
            auth: "Ym9iOnF1YXk=".into(),
            identity_token: "identity".into(),
            registry_token: "registry".into(),
            ..AuthConfig::default()
        };
        assert_eq!(sent(auth.clone(), "quay.io/a").await, basic("ann", "pier"));
        auth.username.clear();
        assert_eq!(sent(auth.clone(), "quay.io/a").await, Some(Credential::Identity(Secret::new("identity"))));
        auth.identity_token.clear();
        assert_eq!(sent(auth.clone(), "quay.io/a").await, basic("bob", "quay"));
        auth.auth.clear();
        assert_eq!(sent(auth.clone(), "quay.io/a").await, Some(Credential::Registry(Secret::new("registry"))));
        assert_eq!(sent(AuthConfig::default(), "quay.io/a").await, None);
        let broken = AuthConfig { auth: "bm9ib2R5".into(), ..AuthConfig::default() };
        assert!(credentials(broken).is_none());
    }

    #[tokio::test]
    async fn credentials_go_to_the_registry_that_they_are_for() {
        let cases = [
            ("", "quay.io/a", true),
            ("quay.io", "quay.io/a", true),
            ("https://quay.io", "quay.io/a", true),
            ("https://quay.io/v2/", "quay.io/a", true),
            ("https://index.docker.io/v1/", "busybox", true),
            ("docker.io", "busybox", true),
            ("registry-1.docker.io", "busybox", true),
            ("localhost:5000", "localhost:5000/a", true),
            ("http://localhost:5000", "localhost:5000/a", true),
            ("localhost:5001", "localhost:5000/a", false),
            ("quay.io.example.org", "quay.io/a", false),
            ("https://index.docker.io/v1/", "quay.io/a", false),
            ("quay.io", "busybox", false),
        ];
        for (server, image, goes) in cases {
            let auth = AuthConfig {
                username: "ann".into(),
                password: "pier".into(),
                server_address: server.into(),
                ..AuthConfig::default()
            };
            assert_eq!(sent(auth, image).await.is_some(), goes, "{server} {image}");
        }
    }
}
