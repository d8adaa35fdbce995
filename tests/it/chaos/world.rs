//! Where it happens: real daemons and scripted registries.

use std::collections::{BTreeMap, BTreeSet};

use super::images::{IMAGES, TIDY, images, name};
use super::plan::Pull;
use crate::support::clock::Clock;
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::dice::Dice;
use crate::support::fixture::Image;
use crate::support::liar::Liar;
use crate::support::lighterman::Lighterman;

pub(super) const REGISTRIES: usize = 2;
/// Registries, the mirror of the first, and the storage that the second sends its clients to.
const LIARS: usize = REGISTRIES + 2;
pub(super) const MIRROR: usize = REGISTRIES;
pub(super) const STORAGE: usize = REGISTRIES + 1;
pub(super) const NAMESPACES: [&str; 2] = ["default", "k8s.io"];
/// Room for all images several times.
const MEBIBYTES: u64 = 384;
/// Requests that a token of the first registry is good for, and a signature of the second.
const USES: (usize, usize) = (50, 8);

/// The bed, and what is known of it.
pub(super) struct World {
    pub(super) images: Vec<Image>,
    pub(super) liars: Vec<Liar>,
    pub(super) daemon: Daemon<'static>,
    pub(super) containerd: ContainerdDaemon,
    pub(super) clock: Clock,
    /// Images that have to be there, by namespace and name.
    pub(super) named: BTreeSet<(usize, String)>,
    /// A daemon was killed, or could not clear up, since the last pull that tidied up.
    pub(super) is_untidy: bool,
    pub(super) is_full: bool,
    /// Blobs are downloaded to where containerd has its own.
    pub(super) is_beside: bool,
    pub(super) tally: BTreeMap<String, usize>,
    pub(super) checks: usize,
}

impl World {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let images = images();
        let serve = |_| {
            let liar = Liar::start();
            images[..IMAGES].iter().enumerate().for_each(|(at, image)| liar.add(image, &name(at)));
            liar.add(&images[IMAGES], TIDY);
            liar
        };
        let liars: Vec<Liar> = (0..LIARS).map(serve).collect();
        liars[0].require_tokens(USES.0);
        liars[1].redirect_blobs_to(&liars[STORAGE]);
        liars[STORAGE].require_signatures(USES.1);
        let containerd = ContainerdDaemon::start_on_disk(None, MEBIBYTES, |text| text);
        let hosts = containerd.folder().join("certs.d");
        crate::hosts::write(&hosts, &liars[0].address(), |registry| {
            let mirror = liars[MIRROR].address();
            format!(
                "server = \"http://{registry}\"\n[host.\"http://{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
            )
        });
        let mut clock = Clock::new(containerd.folder());
        let is_beside = dice.percent(70);
        let staging = containerd.folder().join(if is_beside { "root/staging" } else { "staging" });
        let administrator = clock.given_to(Lighterman::new());
        let hosts = format!("hosts-dir = {hosts:?}");
        let mut daemon = Daemon::start_staging_in(administrator, &containerd, &staging, &hosts);
        clock.note(daemon.process().id());
        Self {
            images,
            liars,
            daemon,
            containerd,
            clock,
            named: BTreeSet::new(),
            is_untidy: false,
            is_full: false,
            is_beside,
            tally: BTreeMap::new(),
            checks: 0,
        }
    }

    pub(super) fn registries(&self) -> &[Liar] {
        &self.liars[..REGISTRIES]
    }

    pub(super) fn reference(&self, pull: &Pull) -> String {
        self.liars[pull.registry].reference(&name(pull.image))
    }

    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.tally.entry(what.into()).or_default() += 1;
    }

    pub(super) fn names(&self, namespace: usize) -> BTreeSet<String> {
        self.lines(namespace, &["images", "ls", "-q"]).into_iter().collect()
    }

    pub(super) fn leases(&self, namespace: usize) -> Vec<String> {
        self.lines(namespace, &["leases", "ls", "-q"])
    }

    /// What is being written, by containerd's word.
    pub(super) fn ingests(&self, namespace: usize) -> Vec<String> {
        let rows = self.lines(namespace, &["content", "active"]);
        rows.iter().skip(1).filter_map(|row| row.split_whitespace().next().map(str::to_owned)).collect()
    }

    pub(super) fn lines(&self, namespace: usize, args: &[&str]) -> Vec<String> {
        let all = [&["-n", NAMESPACES[namespace]], args].concat();
        self.containerd.ctr_prints(&all).lines().map(str::to_owned).collect()
    }

    /// Which image has a name: `HOST/appN:1`, `HOST/appN@DIGEST` or its ID.
    pub(super) fn number(&self, name: &str) -> usize {
        let by_id = self.images.iter().position(|image| image.manifests[0].config.digest == name);
        let number = name.split("/app").nth(1).and_then(|rest| rest.split([':', '@']).next()?.parse().ok());
        by_id.or(number).unwrap_or_else(|| panic!("{name} is no image of this run"))
    }

    /// What happened, for people.
    pub(super) fn tally(&self) -> String {
        let happened = self.tally.iter().filter(|(_, count)| **count > 0);
        let rows = happened.map(|(what, count)| format!("{count:>8}  {what}"));
        rows.chain([format!("{:>8}  checks", self.checks)]).collect::<Vec<_>>().join("\n")
    }
}
