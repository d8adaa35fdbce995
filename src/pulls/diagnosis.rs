//! Diagnoses for callers: the same checks as everywhere, with the caller's own rights.

use std::sync::Arc;
use std::time::Duration;

use super::{Place, Pulls, PullsError};
use crate::core::limits::Limits;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::diagnose::diagnosis::{Diagnoser, Question, Wanted};
use crate::diagnose::report::Report;
use crate::diagnose::rootfs::layers::Effort;
use crate::fetch::progress::{Observer, Silent};
use crate::host::Node;
use crate::registry::Credentials;
use crate::store::Store;

/// Diagnoses at a time. Each keeps file names, beginnings of layers and parts of programs in memory,
/// of two images at a time: some MiB of ordinary ones, and 160 MiB at the very worst.
pub(super) const DIAGNOSES: usize = 4;
/// Bytes in memory for the file names of one image, once as they are in its layers and once merged:
/// about 90,000 files, more than nearly every image has. The command reads more in its own process
/// (`--address none`).
const NAMES: u64 = 24 * 1024 * 1024;
/// How long one may take, so that registries which answer a byte at a time do not keep all others
/// waiting. What a budget allows comes within this at 20 kB/s; with all layers, at 1 MB/s a large image.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// One caller's question whether an image runs.
#[derive(Debug, Clone)]
pub struct Doubt {
    /// The image.
    pub reference: Reference,
    /// Which images of it are looked into, as they were written; those of the nodes where there is none.
    pub platforms: Vec<String>,
    /// All of them, whatever `platforms` says.
    pub all_platforms: bool,
    /// The nodes that it is held against; this one where there is none.
    pub nodes: Vec<Node>,
    /// How much of its layers is read.
    pub effort: Effort,
    /// Whether every binary is looked at, which takes all layers.
    pub deep: bool,
    /// Where in containerd its layers may be already.
    pub place: Place,
    /// The caller's own; those of the node where he brings none.
    pub credentials: Option<Credentials>,
}

impl Pulls {
    /// Says whether an image will run, and why not.
    ///
    /// # Errors
    /// [`PullsError`] where the image cannot be read. That it will not run is none.
    pub async fn diagnose(&self, doubt: Doubt) -> Result<Report, PullsError> {
        let nodes = match doubt.nodes.is_empty() {
            true => vec![self.this_node().await],
            false => doubt.nodes,
        };
        let own = || nodes[0].report.matching_platform();
        let listed: Vec<Platform> =
            doubt.platforms.iter().map(|text| Platform::parse(text, &own())).collect::<Result<_, _>>()?;
        let (hosts, silent): (_, Arc<dyn Observer>) = (self.settings().hosts, Arc::new(Silent));
        let fetcher = self.fetcher(&doubt.reference, (doubt.credentials.as_ref(), &hosts), &silent)?;
        // Without containerd, layers are read from the registry alone.
        let store: Option<Arc<dyn Store>> = match self.0.places.open(&doubt.place).await {
            Ok(store) => Some(Arc::new(store)),
            Err(error) => {
                tracing::info!("containerd was not asked what it has: {error}");
                None
            }
        };
        // Nobody closes it.
        let turn = Arc::clone(&self.0.diagnosing).acquire_owned().await.ok().map(Arc::new);
        let limits = *self.engine().limits();
        let diagnoser = Diagnoser { fetcher, store, stored: false, check_access: true, limits, turn };
        let question = Question {
            reference: doubt.reference,
            platforms: Wanted::asked(doubt.all_platforms, listed),
            nodes,
            effort: Effort { limits: Limits { tree_bytes: NAMES, ..limits }, ..doubt.effort },
            deep: doubt.deep,
        };
        let diagnosis = tokio::time::timeout(LONGEST, Box::pin(diagnoser.diagnose(&question))).await;
        let (report, _) = diagnosis.map_err(|_| PullsError::TooSlow { after: LONGEST })??;
        Ok(report)
    }

    async fn this_node(&self) -> Node {
        let host = self.host().await;
        Node::this(host.complete().clone())
    }
}
