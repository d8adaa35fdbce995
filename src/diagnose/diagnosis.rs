//! The use case: a reference in, everything that is known of how it will run out.
//!
//! Documents first, of all images; then the layers of those that matter for the nodes that are
//! asked about, as few bytes of them as decide. Nothing is written anywhere.

use std::cmp::Reverse;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::checks::places::Place;
use super::contents::{self, Contents};
use super::finding::Finding;
use super::fleet::{self, Fleet};
use super::repair::{self, Proposal};
use super::report::{Bytes, Image as ImageReport, NodeVerdict, Outcome, Report, Root as RootReport};
use super::rootfs::Cost;
use super::rootfs::blobs::{Blobs, Remote, Stored};
use super::rootfs::interest::Interest;
use super::rootfs::layers::{Effort, Layers};
use super::{DiagnoseError, DiagnosisError, around, checks, others, start};
use crate::core::descriptor::Descriptor;
use crate::core::limits::Limits;
use crate::core::manifest::ManifestError;
use crate::core::platform::{Matcher, Platform};
use crate::core::reference::Reference;
use crate::core::select::{self, Eligible, EntryPath};
use crate::fetch::Fetcher;
use crate::host::Node;
use crate::resolve::{Image, Reading, ResolveError, Resolver, Root};
use crate::store::{Store, StoreError};

/// Images whose layers are looked into at a time.
const AT_ONCE: usize = 2;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The image.
    pub reference: Reference,
    /// Which of its platforms are looked into.
    pub platforms: Wanted,
    /// The nodes that it is held against; not empty.
    pub nodes: Vec<Node>,
    /// How much of its layers is read.
    pub effort: Effort,
    /// Whether every binary is looked at, which takes all layers.
    pub deep: bool,
}

/// Which images of an index are looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Those that the nodes would take.
    OfNodes,
    /// The ones that these would match.
    Listed(Vec<Platform>),
    /// All.
    All,
}

impl Question {
    fn with_distinct_nodes(&self) -> Self {
        let mut question = self.clone();
        Node::distinguish(&mut question.nodes);
        question
    }
}

impl Wanted {
    /// Those that somebody asked for.
    #[must_use]
    pub fn asked(all: bool, listed: Vec<Platform>) -> Self {
        match (all, listed.is_empty()) {
            (true, _) => Self::All,
            (false, true) => Self::OfNodes,
            (false, false) => Self::Listed(listed),
        }
    }
}

/// Diagnoses images of one registry, or of one store.
#[derive(Debug, Clone)]
pub struct Diagnoser {
    /// Where content comes from; without hosts, only the store is read.
    pub fetcher: Fetcher,
    /// Where it may be already.
    pub store: Option<Arc<dyn Store>>,
    /// The name is the store's, and no registry is asked about it.
    pub stored: bool,
    /// Whether the registry is asked even for what is here, as the check that whoever asks may
    /// have it.
    pub check_access: bool,
    /// Every bound.
    pub limits: Limits,
    /// What its threads hold for as long as they work, which may be a little longer than anybody
    /// waits for them.
    pub turn: Option<Arc<OwnedSemaphorePermit>>,
}

impl Diagnoser {
    /// Answers a question; the second value is what would make the index right, as far as it was
    /// looked into.
    ///
    /// # Errors
    /// [`DiagnosisError`] where the image cannot be read at all, or a layer cannot be reached.
    /// That it will not run is a finding, and no error.
    pub async fn diagnose(&self, question: &Question) -> Result<(Report, Option<Proposal>), DiagnosisError> {
        let resolver = Resolver {
            fetcher: &self.fetcher,
            store: self.store.as_deref(),
            check_access: self.check_access,
            limits: self.limits,
        };
        let question = &question.with_distinct_nodes();
        let mut image = match Box::pin(self.image(&resolver, &question.reference)).await {
            Ok(image) => image,
            Err(DiagnosisError::Resolve(ResolveError::Document { source: ManifestError::Schema1, .. })) => {
                return Ok((schema1(question), None));
            }
            Err(error) => return Err(error),
        };
        let (mut contents, spoilt) = self.contents(&resolver, &mut image).await;
        let wanted = wanted(question, &image, &contents);
        let looking = self.look_into(question, &mut contents, &wanted);
        let (looked, places) = tokio::join!(looking, Box::pin(self.places(&question.reference)));
        looked?;
        let subject = fleet::Image { root: &image.root, entries: image.entries(), contents: &contents };
        let mut findings = checks::all(&question.reference, subject, &question.nodes);
        findings.extend(checks::index::missing(&question.reference, subject, &spoilt));
        if let Some((registry, mirrors)) = places {
            findings.extend(checks::places::compare(&question.reference, &registry, &mirrors));
        }
        findings.extend(self.cached(question, subject).await);
        let proposal = repair::propose(image.entries(), &contents);
        Ok((report(question, &image, subject, spoilt, findings), proposal))
    }

    async fn image(&self, resolver: &Resolver<'_>, reference: &Reference) -> Result<Image, DiagnosisError> {
        let Some(store) = self.store.as_deref().filter(|_| self.stored) else {
            return Ok(resolver.image(reference, Reading::Everything).await?);
        };
        let name = reference.to_string();
        match store.lookup(&name).await? {
            Some(known) => Ok(resolver.stored(reference, &known.target).await?),
            None => {
                let (store, names) = (store.describe(), store.names().await?);
                Err(DiagnosisError::NotHere { reference: name, store, names })
            }
        }
    }

    /// Manifest and config of every image, and what is wrong with the others.
    async fn contents(&self, resolver: &Resolver<'_>, image: &mut Image) -> (Vec<Contents>, Vec<ImageReport>) {
        let images: Vec<(EntryPath, Descriptor)> = match &image.content {
            Root::Manifest(..) => vec![(EntryPath::new(), image.root.clone())],
            Root::Index(entries) => {
                let flat = select::flatten(entries).into_iter();
                let manifests = flat.filter(|(_, entry)| {
                    entry.descriptor.media_type.is_manifest() && !entry.descriptor.is_attestation()
                });
                manifests.map(|(path, entry)| (path, entry.descriptor.clone())).collect()
            }
        };
        let descriptors: Vec<Descriptor> = images.iter().map(|(_, descriptor)| descriptor.clone()).collect();
        let behind = resolver.behind_each(image, &descriptors).await;
        let (mut contents, mut spoilt) = (Vec::new(), Vec::new());
        for ((path, descriptor), behind) in images.into_iter().zip(behind) {
            match behind {
                Ok((manifest, config)) => contents.push(Contents { path, descriptor, manifest, config, start: None }),
                Err(error) => spoilt.push(ImageReport::spoilt(&path, &descriptor, error.to_string())),
            }
        }
        (contents, spoilt)
    }

    /// Finds out what the wanted ones start.
    async fn look_into(
        &self,
        question: &Question,
        contents: &mut [Contents],
        wanted: &[EntryPath],
    ) -> Result<(), DiagnosisError> {
        let looks = contents.iter().enumerate().filter(|(_, one)| wanted.contains(&one.path) && one.is_of_linux());
        let looks: Vec<_> = looks.map(|(at, one)| self.look(question, at, one.clone())).collect();
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some(looked) = looks.next().await {
            let (at, start) = looked?;
            contents[at].start = Some(start);
        }
        Ok(())
    }

    async fn look(
        &self,
        question: &Question,
        at: usize,
        one: Contents,
    ) -> Result<(usize, contents::Start), DiagnosisError> {
        // Whoever asks may go away.
        let lost = CancellationToken::new();
        let _guard = lost.clone().drop_guard();
        let mut blobs = self.blobs(&question.reference, Interest::until(lost, Handle::current()));
        let (effort, deep, turn) = (question.effort, question.deep, self.turn.clone());
        // Inflating and walking archives blocks; it must not stop other work.
        let examined = tokio::task::spawn_blocking(move || -> Result<contents::Start, DiagnoseError> {
            let _turn = turn;
            let layers = &one.manifest.layers;
            let mut layers = Layers::new(layers, one.config.layer_commands(), &mut *blobs, effort)?;
            let start = start::examine(&mut layers, &one.config)?;
            if !deep {
                return Ok(start);
            }
            let binaries = others::all(&mut layers, &one.config)?;
            // Once more: by then every byte has come, and what was found before is verified.
            Ok(others::add(binaries, &one.config, start::examine(&mut layers, &one.config)?))
        });
        let start = examined.await.map_err(|error| StoreError::thread(&error))??;
        Ok((at, start))
    }

    async fn places(&self, reference: &Reference) -> Option<(Place, Vec<Place>)> {
        around::places(&self.fetcher, reference, &self.limits).await
    }

    /// Whether the node has an image for another platform under the name.
    async fn cached(&self, question: &Question, subject: fleet::Image<'_>) -> Option<Finding> {
        let (store, node) = (self.store.as_deref().filter(|_| !self.stored)?, question.nodes.first()?);
        let taken = subject.claimed(&subject.taken(node)?)?;
        let here = match around::cached(store, &self.fetcher, &question.reference, self.limits).await {
            Ok(here) => here,
            Err(error) => {
                tracing::info!("the local store was not compared: {error}");
                return None;
            }
        };
        let other = here.first().filter(|_| !here.iter().any(|platform| platform.same_as(&taken)))?;
        checks::places::cached(&question.reference, other, &taken).map(|finding| finding.on(&node.name))
    }

    fn blobs(&self, reference: &Reference, interest: Interest) -> Box<dyn Blobs> {
        match &self.store {
            Some(store) if self.stored => Box::new(Stored::new(Arc::clone(store), interest)),
            store => Box::new(Remote::new(self.fetcher.clone(), reference.clone(), store.clone(), interest)),
        }
    }
}

fn wanted(question: &Question, image: &Image, contents: &[Contents]) -> Vec<EntryPath> {
    let entries = match &image.content {
        Root::Manifest(..) => return vec![EntryPath::new()],
        Root::Index(entries) => entries,
    };
    let subject = fleet::Image { root: &image.root, entries, contents };
    match &question.platforms {
        Wanted::OfNodes => question.nodes.iter().filter_map(|node| subject.taken(node)).collect(),
        Wanted::Listed(platforms) => {
            let choose = |platform| select::choose(entries, &Matcher::only(platform), Eligible::Images);
            platforms.iter().filter_map(choose).collect()
        }
        Wanted::All => select::flatten(entries).into_iter().map(|(path, _)| path).collect(),
    }
}

/// An image in a format from before platforms: no node takes it any more.
fn schema1(question: &Question) -> Report {
    let finding = checks::places::schema1(&question.reference);
    let refused = |node: &Node| NodeVerdict {
        name: node.name.clone(),
        platform: node.report.matching_platform().to_string(),
        entry: None,
        outcome: Outcome::Refused,
        reason: Some(finding.message.clone()),
    };
    Report {
        reference: question.reference.to_string(),
        root: None,
        images: Vec::new(),
        fleet: Fleet { nodes: question.nodes.iter().map(refused).collect(), ..Fleet::default() },
        findings: vec![finding.clone()],
        bytes: Bytes::default(),
    }
}

fn report(
    question: &Question,
    image: &Image,
    subject: fleet::Image<'_>,
    spoilt: Vec<ImageReport>,
    mut findings: Vec<Finding>,
) -> Report {
    findings.sort_by_key(|finding| (Reverse(finding.severity), finding.id));
    let mut fleet = Fleet::of(subject, &question.nodes);
    fleet.stop(&findings);
    for one in &spoilt {
        fleet.lose(one);
    }
    let mut images: Vec<ImageReport> = subject.contents.iter().map(ImageReport::from).chain(spoilt).collect();
    images.sort_by_key(position);
    let costs = subject.contents.iter().filter_map(|one| one.start.as_ref()).map(|start| start.cost);
    let sum = |of: fn(Cost) -> u64| costs.clone().map(of).fold(0, u64::saturating_add);
    Report {
        reference: question.reference.to_string(),
        root: Some(RootReport {
            digest: image.root.digest.clone(),
            media_type: image.root.media_type.to_string(),
            entries: match &image.content {
                Root::Index(entries) => Some(entries.len()),
                Root::Manifest(..) => None,
            },
        }),
        images,
        findings,
        fleet,
        bytes: Bytes {
            documents: image.bytes_fetched,
            layers_fetched: sum(|cost| cost.fetched),
            layers_read: sum(|cost| cost.read),
            layers_total: sum(|cost| cost.total),
            budget_per_layer: question.effort.per_layer,
            budget_per_image: question.effort.per_image,
        },
    }
}

/// Order of the index; what could not be read stands where it is in the index as well.
fn position(image: &ImageReport) -> Vec<usize> {
    let entry = image.entry.as_deref().unwrap_or_default();
    entry.split('.').filter_map(|position| position.parse().ok()).collect()
}
