//! CRI's image service (`runtime.v1.ImageService`), for kubelet and crictl.
//!
//! containerd's CRI creates containers from the images that it knows of, so it stays the only
//! truth about them: every call is passed on to it, byte for byte in both directions, and its
//! answer is ours. Only PullImage is our own (`server`): the image is brought through
//! [`crate::pulls`], and the answer given once containerd's CRI shows it. Where that is none of
//! our business, or goes wrong for a reason of our own, containerd gets the request as it came
//! (`request`, `refusal`). Nothing is answered from memory: kubelet takes PullImage for the
//! check that a pod may have the image.
//!
//! A caller's credentials are those of his request, and none where it has none. Those that are
//! stored on this node are never used for him. They go to the host that the request names; where
//! it names none, as kubelet does, to whichever host of the image asks for them, mirrors in
//! hosts.toml included, unless somebody on the way to a mirror could read them
//! ([`Audience`](crate::registry::Audience)). Whether he may have the image, the registry is asked
//! by every pull, and not only a mirror that gives to anybody (`fetch/access.rs` says when whose
//! word counts).
//!
//! Annotations of a pod that count for its pulls, as kubelet sends them with the image or with the
//! pod. A pull with another value is refused:
//!
//! | annotation | values | meaning |
//! |---|---|---|
//! | `lighterman.dev/arch-mismatch` | `refuse`, `warn`, `allow` | what to do with an image that does not run here |
//! | `lighterman.dev/allow-mismatch` | `true`, `false` | `true` is `allow` in the one above, which wins |
//! | `lighterman.dev/isa-level` | `true`, `false` | choose what is built for exactly this CPU, such as amd64/v3 |
//!
//! Whether a pod may be laxer than the node, the node says ([`crate::core::mismatch`]). One that refuses an
//! image is refused it also where it is here already, which changes nothing for others.
//!
//! Specification: Kubernetes cri-api, runtime/v1; what kubelet makes of answers is its own code's.

mod codec;
mod deadline;
mod error;
mod refusal;
pub mod request;
mod runtime;
mod server;

pub use codec::Raw;
pub use error::CriError;
pub use server::server;

use super::generated::{cri as v1, cri_images as wire};

/// Name of the service, for health checks.
pub const SERVICE: &str = wire::image_service_server::SERVICE_NAME;
