//! What is wanted, and the decision what of it is brought: before anything is written.

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::limits::Limits;
use crate::core::manifest::{Document, Index, Manifest};
use crate::core::mismatch::Stance;
use crate::core::platform::{Matcher, Platform, PlatformError};
use crate::core::reference::Reference;
use crate::core::select::{self, Eligible, EntryPath, Inner};
use crate::fetch::progress::Phase;
use crate::host::{Execution, LocalHost};
use crate::resolve::choice::{self, Choice, Level, Wish};
use crate::resolve::{Image, Reading, ResolveError, Resolver, Root};
use crate::store::ImageRecord;

use super::{Planned, PullError, Puller};

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image.
    pub reference: Reference,
    /// For which platforms.
    pub platforms: Platforms,
    /// Which level of the CPU counts.
    pub level: Level,
    /// What to do with an image that does not run here.
    pub on_mismatch: Stance,
}

/// Which platforms of an image are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// The one that this node matches with.
    Host,
    /// These.
    Listed(Vec<Platform>),
    /// Everything that the index has, attestations included, so that it can be copied on whole.
    All,
}

/// What a pull is going to bring.
#[derive(Debug)]
pub struct Plan {
    /// The image, with the documents that are brought.
    pub image: Image,
    /// The manifests that were chosen.
    pub parts: Vec<Part>,
    /// What the user should know before anything is fetched.
    pub warnings: Vec<String>,
    /// Every index that leads to a chosen manifest, outermost first.
    indexes: Vec<Descriptor>,
    /// The name will stand for the root, whatever was chosen.
    whole: bool,
    /// What to do where a program shows that it does not run here; `None` where nobody means to run
    /// what is pulled.
    pub(super) judged: Option<Stance>,
}

/// One manifest of a plan.
#[derive(Debug, Clone)]
pub struct Part {
    /// Why this one.
    pub choice: Choice,
    /// The manifest.
    pub manifest: Manifest,
}

impl Platforms {
    /// Those that somebody asked for in writing; what is left out of one is this node's.
    ///
    /// # Errors
    /// [`PlatformError`] for a text that names none.
    pub fn asked(all: bool, listed: &[String], host: &LocalHost) -> Result<Self, PlatformError> {
        let own = host.report().matching_platform();
        let listed: Vec<Platform> = listed.iter().map(|text| Platform::parse(text, &own)).collect::<Result<_, _>>()?;
        Ok(match (all, listed.is_empty()) {
            (true, _) => Self::All,
            (false, true) => Self::Host,
            (false, false) => Self::Listed(listed),
        })
    }
}

impl Puller<'_> {
    /// Finds out what the request stands for and chooses the manifests.
    ///
    /// # Errors
    /// [`PullError::Resolve`], refusals included.
    pub async fn plan(&self, request: &PullRequest) -> Result<Plan, PullError> {
        let plan = self.phase(Phase::Resolve, self.decide(request)).await;
        self.tell_of_claims(request, &plan);
        plan
    }

    async fn decide(&self, request: &PullRequest) -> Result<Plan, PullError> {
        let resolver = Resolver {
            fetcher: self.fetcher,
            store: Some(self.store),
            check_access: self.check_access,
            limits: self.limits,
        };
        let wishes = wishes(request);
        let matcher = match wishes.as_slice() {
            [only] => Some(only.matcher(self.host)),
            _ => None,
        };
        let reading = matcher.as_ref().map_or(Reading::Everything, Reading::Deciding);
        let mut image = resolver.image(&request.reference, reading).await?;
        let mut choices: Vec<Choice> = match request.platforms {
            Platforms::All => every_manifest(&image, self.host),
            _ => wishes.iter().map(|wish| choice::choose(&image, wish, self.host)).collect::<Result<_, _>>()?,
        };
        if choices.is_empty() {
            return Err(ResolveError::Empty { reference: request.reference.familiar() }.into());
        }
        if self.unpacker.is_some() && matches!(request.platforms, Platforms::Listed(_)) {
            choices.iter_mut().try_for_each(|choice| choice.judge_asked(&image, request.on_mismatch))?;
        }
        let mut seen = std::collections::BTreeSet::new();
        choices.retain(|choice| seen.insert(choice.descriptor.digest.clone()));
        let descriptors: Vec<Descriptor> = choices.iter().map(|choice| choice.descriptor.clone()).collect();
        let manifests = resolver.manifests(&mut image, &descriptors).await?;
        let parts: Vec<Part> =
            choices.into_iter().zip(manifests).map(|(choice, manifest)| Part { choice, manifest }).collect();
        let whole = request.platforms == Platforms::All || parts.len() != 1;
        let mut warnings: Vec<String> = parts.iter().flat_map(|part| part.choice.warnings.clone()).collect();
        if request.platforms == Platforms::All {
            warnings.extend(left_out(&image));
        }
        let judged = (request.platforms != Platforms::All).then_some(request.on_mismatch);
        Ok(Plan { judged, ..Plan::new(image, parts, warnings, whole) })
    }
}

impl Plan {
    fn new(mut image: Image, parts: Vec<Part>, warnings: Vec<String>, whole: bool) -> Self {
        let indexes = leading(&image, &parts);
        let brought = parts.iter().flat_map(|part| [&part.choice.descriptor, &part.manifest.config]).chain(&indexes);
        let brought: Vec<Digest> = brought.map(|descriptor| descriptor.digest.clone()).collect();
        image.settle(&brought);
        Self { image, parts, warnings, indexes, whole, judged: None }
    }

    /// The plan in plain values.
    #[must_use]
    pub fn told(&self) -> Planned {
        Planned::of(self)
    }

    /// Every index that leads to a chosen manifest, outermost first.
    pub(super) fn indexes(&self, limits: &Limits) -> Vec<(Digest, Index)> {
        let index = |descriptor: &Descriptor| {
            let document = self.image.document(&descriptor.digest)?;
            match Document::parse(document.content(), Some(&descriptor.media_type), limits) {
                Ok(Document::Index(index)) => Some((descriptor.digest.clone(), index)),
                _ => None,
            }
        };
        self.indexes.iter().filter_map(index).collect()
    }

    /// Descriptors of every index and manifest that belongs into the store.
    pub(super) fn documents(&self) -> Vec<Descriptor> {
        let manifests = self.parts.iter().map(|part| &part.choice.descriptor);
        let document = |descriptor: &Descriptor| {
            let size = self.image.document(&descriptor.digest)?.size();
            Some(Descriptor::new(MediaType::Other(String::new()), descriptor.digest.clone(), size))
        };
        self.indexes.iter().chain(manifests).filter_map(document).collect()
    }

    /// The parts that hold something to run: attestations and other artifacts travel along.
    pub(super) fn runnable(&self) -> Vec<&Part> {
        let runnable =
            |part: &&Part| !part.choice.descriptor.is_attestation() && part.manifest.config.media_type.is_config();
        self.parts.iter().filter(runnable).collect()
    }

    pub(super) fn record(&self) -> ImageRecord {
        let single = match self.parts.as_slice() {
            [part] if !self.whole => Some(part),
            _ => None,
        };
        ImageRecord {
            reference: self.image.reference.clone(),
            root: self.image.root.clone(),
            manifest: single.map(|part| part.choice.descriptor.clone()),
            config: single
                .or_else(|| self.parts.iter().find(|part| !part.choice.pin))
                .map(|part| part.manifest.config.digest.clone()),
            pin_manifest: single.is_some_and(|part| part.choice.pin),
        }
    }
}

/// Descriptors of every index that leads to a chosen manifest, outermost first.
fn leading(image: &Image, parts: &[Part]) -> Vec<Descriptor> {
    let Root::Index(entries) = &image.content else { return Vec::new() };
    let is_before = |path: &EntryPath| {
        parts.iter().any(|part| part.choice.path.as_ref().is_some_and(|chosen| chosen.starts_with(path)))
    };
    let nested = select::flatten(entries)
        .into_iter()
        .filter(|(path, entry)| matches!(entry.inner, Inner::Nested(_)) && is_before(path))
        .map(|(_, entry)| entry.descriptor.clone());
    std::iter::once(image.root.clone()).chain(nested).collect()
}

fn wishes(request: &PullRequest) -> Vec<Wish> {
    let wish = |platform| Wish { platform, level: request.level, on_mismatch: request.on_mismatch };
    match &request.platforms {
        Platforms::Host => vec![wish(None)],
        Platforms::Listed(platforms) => platforms.iter().cloned().map(Some).map(wish).collect(),
        Platforms::All => Vec::new(),
    }
}

/// Every manifest of an image, for whatever platform. The one that containerd comes to on this
/// node is the one that is not pinned.
fn every_manifest(image: &Image, host: &LocalHost) -> Vec<Choice> {
    let matcher = Matcher::only(&host.report().matching_platform());
    let own = select::choose(image.entries(), &matcher, Eligible::Everything);
    let choice = |path: Option<EntryPath>, descriptor: &Descriptor, platform: Option<&Platform>| Choice {
        pin: path != own,
        path,
        descriptor: descriptor.clone(),
        platform: platform.map(Platform::normalized).unwrap_or_default(),
        // Nobody means to run them all.
        execution: Execution::Unknown { reason: "not asked".into() },
        mismatch: None,
        warnings: Vec::new(),
    };
    match &image.content {
        Root::Manifest(_, platform) => vec![choice(None, &image.root, Some(platform))],
        Root::Index(entries) => select::flatten(entries)
            .into_iter()
            .filter(|(_, entry)| entry.descriptor.media_type.is_manifest())
            .map(|(path, entry)| choice(Some(path), &entry.descriptor, entry.platform()))
            .collect(),
    }
}

/// What an index names and a pull of everything does not bring.
fn left_out(image: &Image) -> Vec<String> {
    let warning = |(_, entry): (EntryPath, &select::Entry)| match &entry.inner {
        Inner::Unusable(why) => Some(format!("{} is left out: {why}", entry.descriptor.digest)),
        _ if entry.descriptor.media_type.is_manifest() || entry.descriptor.media_type.is_index() => None,
        _ => {
            Some(format!("{} is left out: unknown media type {}", entry.descriptor.digest, entry.descriptor.media_type))
        }
    };
    select::flatten(image.entries()).into_iter().filter_map(warning).collect()
}
