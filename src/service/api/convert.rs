//! Values of the house as messages, and back.

use std::time::Duration;

use super::v1;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::platform::Platform;
use crate::pull::{Layers, Planned, Pulled, Traffic};
use crate::pulls::{Done, Phase, RunningPull};
use crate::registry::{Credentials, Secret};
use crate::resolve::resolution::{Explained, ExplainedEntry, Prediction, Resolution};
use crate::store::Tally;

/// A message that does not mean anything.
#[derive(Debug, thiserror::Error)]
#[error("the daemon's answer cannot be understood: {0}")]
pub struct Unintelligible(pub(super) &'static str);

impl From<&Descriptor> for v1::Descriptor {
    fn from(descriptor: &Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type.as_str().into(),
            digest: descriptor.digest.to_string(),
            size: descriptor.size,
            platform: text_of(descriptor.platform.as_ref()),
        }
    }
}

impl TryFrom<v1::Descriptor> for Descriptor {
    type Error = Unintelligible;

    fn try_from(message: v1::Descriptor) -> Result<Self, Unintelligible> {
        let mut descriptor = Self::new(MediaType::parse(&message.media_type), digest(&message.digest)?, message.size);
        descriptor.platform = Some(message.platform).filter(|text| !text.is_empty()).map(|text| platform(&text));
        Ok(descriptor)
    }
}

fn text_of(platform: Option<&Platform>) -> String {
    platform.map(Platform::to_string).unwrap_or_default()
}

/// A platform that [`Platform`] wrote; it is taken as it is, whatever this node knows of it.
pub(super) fn platform(text: &str) -> Platform {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let (os, architecture, variant) = (next(), next(), next());
    Platform { os, architecture, variant, ..Platform::default() }
}

pub(super) fn digest(text: &str) -> Result<Digest, Unintelligible> {
    text.parse().map_err(|_| Unintelligible("a digest is malformed"))
}

fn described(message: Option<v1::Descriptor>) -> Result<Descriptor, Unintelligible> {
    message.ok_or(Unintelligible("a descriptor is missing"))?.try_into()
}

/// Text that is not there is empty in a message.
pub(super) fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl From<&Resolution> for v1::ResolveResponse {
    fn from(resolution: &Resolution) -> Self {
        let (manifest, platform) =
            resolution.chosen.as_ref().map(|(manifest, platform)| (manifest.into(), platform)).unzip();
        Self {
            reference: resolution.reference.clone(),
            root: Some((&resolution.root).into()),
            manifest,
            platform: text_of(platform),
            warnings: resolution.warnings.clone(),
            explanation: resolution.explained.as_ref().map(Into::into),
            refusal: None,
        }
    }
}

impl TryFrom<v1::ResolveResponse> for Resolution {
    type Error = Unintelligible;

    fn try_from(message: v1::ResolveResponse) -> Result<Self, Unintelligible> {
        let chosen = message.manifest.map(Descriptor::try_from).transpose()?;
        Ok(Self {
            reference: message.reference,
            root: described(message.root)?,
            chosen: chosen.map(|manifest| (manifest, platform(&message.platform))),
            warnings: message.warnings,
            explained: message.explanation.map(Explained::try_from).transpose()?,
        })
    }
}

impl From<&Explained> for v1::Explanation {
    fn from(explained: &Explained) -> Self {
        let entry = |entry: &ExplainedEntry| v1::ExplainedEntry {
            path: entry.path.clone(),
            descriptor: Some((&entry.descriptor).into()),
            normalized: entry.normalized.clone().unwrap_or_default(),
            verdict: entry.verdict.clone(),
            slot: entry.slot.unwrap_or_default(),
            reason: entry.reason.clone(),
        };
        let prediction = |prediction: &Prediction| v1::Prediction {
            client: prediction.client.clone(),
            label: prediction.label.clone(),
            outcome: prediction.outcome.clone(),
            entries: prediction.entries.clone(),
            text: prediction.text.clone(),
        };
        Self {
            root: explained.root.clone(),
            accepts: explained.accepts.clone(),
            entries: explained.entries.iter().map(entry).collect(),
            predictions: explained.predictions.iter().map(prediction).collect(),
            passed_over: explained.passed_over.clone().unwrap_or_default(),
            notes: explained.notes.clone(),
        }
    }
}

impl TryFrom<v1::Explanation> for Explained {
    type Error = Unintelligible;

    fn try_from(message: v1::Explanation) -> Result<Self, Unintelligible> {
        let entry = |entry: v1::ExplainedEntry| {
            Ok(ExplainedEntry {
                path: entry.path,
                descriptor: described(entry.descriptor)?,
                normalized: some(entry.normalized),
                verdict: entry.verdict,
                slot: Some(entry.slot).filter(|slot| *slot > 0),
                reason: entry.reason,
            })
        };
        let prediction = |prediction: v1::Prediction| Prediction {
            client: prediction.client,
            label: prediction.label,
            outcome: prediction.outcome,
            entries: prediction.entries,
            text: prediction.text,
        };
        Ok(Self {
            root: message.root,
            accepts: message.accepts,
            entries: message.entries.into_iter().map(entry).collect::<Result<_, Unintelligible>>()?,
            predictions: message.predictions.into_iter().map(prediction).collect(),
            passed_over: some(message.passed_over),
            notes: message.notes,
        })
    }
}

/// What a caller proves himself with; `None` where he leaves that to the node. A message without
/// any proof is a caller who wants to be nobody.
pub(super) fn credentials(message: Option<v1::Credentials>) -> Option<Credentials> {
    use v1::credentials::Kind;
    let anonymous = Credentials::anonymous();
    let Some(kind) = message?.kind else { return Some(anonymous) };
    Some(match kind {
        Kind::Login(login) => anonymous.with_login(login.username, Secret::new(login.password)),
        Kind::IdentityToken(token) => anonymous.with_identity_token(Secret::new(token)),
        Kind::RegistryToken(token) => anonymous.with_registry_token(Secret::new(token)),
    })
}

impl From<&Planned> for v1::PullResolved {
    fn from(planned: &Planned) -> Self {
        let image = |(digest, platform): &(Digest, Platform)| v1::ChosenManifest {
            digest: digest.to_string(),
            platform: platform.to_string(),
        };
        Self {
            reference: planned.reference.clone(),
            root: Some((&planned.root).into()),
            images: planned.images.iter().map(image).collect(),
            blobs: planned.blobs as u64,
            bytes: planned.bytes,
            warnings: planned.warnings.clone(),
        }
    }
}

impl TryFrom<v1::PullResolved> for Planned {
    type Error = Unintelligible;

    fn try_from(message: v1::PullResolved) -> Result<Self, Unintelligible> {
        let image = |image: v1::ChosenManifest| Ok((digest(&image.digest)?, platform(&image.platform)));
        Ok(Self {
            reference: message.reference,
            root: described(message.root)?,
            images: message.images.into_iter().map(image).collect::<Result<_, Unintelligible>>()?,
            blobs: count(message.blobs),
            bytes: message.bytes,
            warnings: message.warnings,
        })
    }
}

impl From<&Done> for v1::Pulled {
    fn from(done: &Done) -> Self {
        let Pulled { traffic, target, unpacked, warnings, content, layers, elapsed } = &done.pulled;
        Self {
            target: target.to_string(),
            chain_ids: unpacked.iter().map(Digest::to_string).collect(),
            destination: done.destination.clone(),
            bytes_fetched: traffic.bytes_fetched,
            bytes_present: traffic.bytes_present,
            blobs_fetched: traffic.blobs_fetched as u64,
            blobs_present: traffic.blobs_present as u64,
            content_linked: content.linked as u64,
            content_written: content.written as u64,
            layers_unpacked: layers.grafted as u64,
            layers_unpacked_by_containerd: layers.applied as u64,
            layers_present: layers.present as u64,
            elapsed: (*elapsed).try_into().ok(),
            warnings: warnings.clone(),
        }
    }
}

/// What a pull brought, and where it is.
pub(super) fn pulled(message: v1::Pulled) -> Result<(Pulled, String), Unintelligible> {
    let pulled = Pulled {
        traffic: Traffic {
            bytes_fetched: message.bytes_fetched,
            bytes_present: message.bytes_present,
            blobs_fetched: count(message.blobs_fetched),
            blobs_present: count(message.blobs_present),
        },
        target: digest(&message.target)?,
        unpacked: message.chain_ids.iter().map(|text| digest(text)).collect::<Result<_, _>>()?,
        warnings: message.warnings,
        content: Tally { linked: count(message.content_linked), written: count(message.content_written) },
        layers: Layers {
            grafted: count(message.layers_unpacked),
            applied: count(message.layers_unpacked_by_containerd),
            present: count(message.layers_present),
        },
        elapsed: message.elapsed.and_then(|elapsed| Duration::try_from(elapsed).ok()).unwrap_or_default(),
    };
    Ok((pulled, message.destination))
}

pub(super) fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl From<&RunningPull> for v1::RunningPull {
    fn from(pull: &RunningPull) -> Self {
        let phase = match pull.phase {
            Phase::Resolving => v1::Phase::Resolving,
            Phase::Queued => v1::Phase::Queued,
            Phase::Landing => v1::Phase::Landing,
        };
        Self {
            id: pull.id,
            reference: pull.reference.to_string(),
            namespace: pull.place.namespace.clone().unwrap_or_default(),
            snapshotter: pull.place.snapshotter.clone().unwrap_or_default(),
            started: Some(pull.started.into()),
            door: pull.door.name().into(),
            phase: phase.into(),
            bytes_done: pull.bytes_done,
            bytes_total: pull.bytes_total,
            layers_done: u32::try_from(pull.layers_done).unwrap_or(u32::MAX),
            layers_total: u32::try_from(pull.layers_total).unwrap_or(u32::MAX),
        }
    }
}
