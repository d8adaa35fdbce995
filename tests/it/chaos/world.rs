//! Where it happens: real daemons and scripted registries, and what must hold after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::plan::{Meanwhile, Pull, Step, Trouble, What};
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::dice::Dice;
use crate::support::fixture::{Flavour, Image, Layer, Manifest, Tree, busybox_program, digest, noise, platform};
use crate::support::liar::Liar;
use crate::support::lighterman::{Lighterman, Outcome, Running, exit};
use crate::support::{files_below, host};

pub(super) const IMAGES: usize = 6;
pub(super) const REGISTRIES: usize = 2;
pub(super) const NAMESPACES: [&str; 2] = ["default", "k8s.io"];
/// An image that nobody else asks for. A pull of it tidies up after a daemon that was killed.
const TIDY: &str = "tidy:1";
/// KiB that the daemon may have resident, here where it is not optimised.
const RESIDENT: u64 = 400 * 1024;
/// Descriptors and threads beyond those at its first rest: idle connections, and threads that wait for work.
const SPARE: usize = 600;

/// The bed, and what is known of it.
pub(super) struct World {
    images: Vec<Image>,
    registries: Vec<Liar>,
    mirror: Liar,
    containerd: ContainerdDaemon,
    daemon: Daemon<'static>,
    /// Images that have to be there, by namespace and name.
    named: BTreeSet<(usize, String)>,
    /// The daemon was killed since it last tidied up.
    is_untidy: bool,
    tally: BTreeMap<String, usize>,
    checks: usize,
}

/// What an image's name is at a registry.
fn name(image: usize) -> String {
    format!("app{image}:1")
}

/// Images of one program, some files that several have, and some of their own; each can say whether
/// all of its files are what they were.
fn images() -> Vec<Image> {
    let program = Tree::new().dir("bin").file("bin/busybox", 0o755, &busybox_program(host())).layer();
    let shared: Vec<(String, Layer)> = (0..3).map(|group| files(&format!("shared{group}"), 40, 20_000)).collect();
    let build = |image: usize| {
        let (own_sums, own) = files(&format!("own{image}"), 5 + 30 * image, 4_000 * (image + 1));
        let (shared_sums, shared) = &shared[image % shared.len()];
        let mut sums = format!("{own_sums}{shared_sums}");
        let mut layers = vec![program.clone(), shared.clone(), own];
        if image == 0 {
            // Large enough to come in ranges.
            let (large_sums, large) = files("large", 1, 9 << 20);
            sums.push_str(&large_sums);
            layers.push(large);
        }
        layers.push(Tree::new().dir("etc").file("etc/sums", 0o644, sums.as_bytes()).layer());
        let platform = platform(host().arch, host().variant);
        let run = ["sh", "-c", "cd / && /bin/busybox sha256sum -s -c /etc/sums && echo whole"];
        let manifest = Manifest::new(Flavour::Oci, &platform, &layers, ("/bin/busybox", &run));
        if image.is_multiple_of(2) { Image::multi(Flavour::Oci, &[manifest]) } else { Image::single(manifest) }
    };
    (0..=IMAGES).map(build).collect()
}

/// A layer of files, and the lines by which sha256sum knows them.
fn files(folder: &str, count: usize, size: usize) -> (String, Layer) {
    let mut tree = Tree::new().dir(folder);
    let mut sums = String::new();
    for index in 0..count {
        let content = noise((folder.len() * 7919 + index * 31 + size) as u64, size);
        let path = format!("{folder}/{index}");
        let sum = digest(&content);
        let _ = writeln!(sums, "{}  {path}", sum.trim_start_matches("sha256:"));
        tree = tree.file(&path, 0o644, &content);
    }
    (sums, tree.layer())
}

impl World {
    pub(super) fn new() -> Self {
        let images = images();
        let serve = |_| {
            let liar = Liar::start();
            images[..IMAGES].iter().enumerate().for_each(|(at, image)| liar.add(image, &name(at)));
            liar.add(&images[IMAGES], TIDY);
            liar
        };
        let registries: Vec<Liar> = (0..REGISTRIES).map(serve).collect();
        let mirror = serve(0);
        let containerd = ContainerdDaemon::start();
        let hosts = containerd.folder().join("certs.d");
        crate::hosts::write(&hosts, &registries[0].address(), |registry| {
            let mirror = mirror.address();
            format!(
                "server = \"http://{registry}\"\n[host.\"http://{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
            )
        });
        let daemon = Daemon::start_configured(&containerd, &format!("hosts-dir = {hosts:?}"));
        let (named, tally) = (BTreeSet::new(), BTreeMap::new());
        Self { images, registries, mirror, containerd, daemon, named, is_untidy: false, tally, checks: 0 }
    }

    fn reference(&self, pull: &Pull) -> String {
        self.registries[pull.registry].reference(&name(pull.image))
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.tally.entry(what.into()).or_default() += 1;
    }

    pub(super) fn take(&mut self, step: &Step, dice: &mut Dice) {
        match step {
            Step::Pulls { pulls, troubles, meanwhile } => self.pulls(pulls, troubles, meanwhile.as_ref()),
            Step::Remove { image, namespace } => self.remove(*image, *namespace),
            Step::Neighbour { image, namespace } => self.neighbour(*image, *namespace, dice.below(REGISTRIES)),
            Step::Restart => self.stop_daemon(),
        }
    }

    fn pulls(&mut self, pulls: &[Pull], troubles: &[Trouble], meanwhile: Option<&Meanwhile>) {
        troubles.iter().for_each(|trouble| self.plan(trouble));
        let mut given_up = Vec::new();
        let mut running: Vec<(usize, Running)> = Vec::new();
        for (index, pull) in pulls.iter().enumerate() {
            let reference = self.reference(pull);
            let client = self.daemon.user().spawn(&["pull", &reference, "-n", NAMESPACES[pull.namespace]]);
            match pull.given_up_after {
                Some(after) => given_up.push((index, after, client)),
                None => running.push((index, client)),
            }
        }
        let disturbed = meanwhile.is_some_and(|meanwhile| meanwhile.what.disturbs());
        let leaving = std::thread::spawn(move || {
            given_up.sort_by_key(|(_, after, _)| *after);
            let mut passed = 0;
            let leave = |(index, after, client): (usize, u64, Running)| {
                // Not waited for: at which moment of its work it is hit is what the seed decides.
                std::thread::sleep(Duration::from_millis(after - passed));
                passed = after;
                (index, client.interrupt())
            };
            given_up.into_iter().map(leave).collect::<Vec<_>>()
        });
        if let Some(meanwhile) = meanwhile {
            std::thread::sleep(Duration::from_millis(meanwhile.after));
            self.meanwhile(meanwhile.what);
        }
        let stayed = running.into_iter().map(|(index, client)| (index, client.wait()));
        let mut outcomes: Vec<(usize, Outcome)> = stayed.collect();
        outcomes.extend(leaving.join().expect("no panic"));
        // What nobody met with is not to hit others later.
        self.registries.iter().chain([&self.mirror]).for_each(Liar::forget_plans);
        for (index, outcome) in outcomes {
            self.judge(&pulls[index], outcome, disturbed);
        }
    }

    fn plan(&mut self, trouble: &Trouble) {
        let image = &self.images[trouble.image];
        let blobs: Vec<_> = image.manifests[0].blobs().collect();
        let what = match blobs.get(trouble.blob) {
            Some(blob) => format!("/blobs/{}", blob.digest),
            None => format!("GET /v2/app{}/manifests/", trouble.image),
        };
        let registry = self.registries.get(trouble.registry).unwrap_or(&self.mirror);
        registry.plan(&what, vec![trouble.reply.clone(); trouble.times]);
        let class = format!("{:?}", trouble.reply);
        let class: String = class.chars().take_while(|letter| letter.is_alphanumeric()).collect();
        self.count(format!("trouble {class}"));
    }

    fn meanwhile(&mut self, what: What) {
        self.count(format!("{what:?}").split('(').next().unwrap_or_default().to_owned());
        match what {
            What::KillDaemon => {
                self.daemon.take().kill();
                self.is_untidy = true;
                self.daemon.restart();
            }
            What::StopDaemon => self.stop_daemon(),
            What::KillContainerd => {
                self.containerd.kill();
                // It ends leases as soon as it is told to, and was not there to be told.
                self.is_untidy = true;
                self.containerd.start_again();
            }
            What::PauseContainerd => {
                self.containerd.pause();
                std::thread::sleep(Duration::from_millis(300));
                self.containerd.resume();
            }
            What::Collect => NAMESPACES.iter().for_each(|namespace| self.containerd.collect(namespace)),
            What::Remove(image) => (0..NAMESPACES.len()).for_each(|namespace| self.remove(image, namespace)),
            What::Revoke => self.registries.iter().for_each(Liar::revoke),
        }
    }

    fn stop_daemon(&mut self) {
        let running = self.daemon.take();
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(exit::OK), "a daemon that is told to stop: {}", self.daemon.log());
        self.daemon.restart();
    }

    /// Every pull ends in a way that says why.
    fn judge(&mut self, pull: &Pull, outcome: Outcome, disturbed: bool) {
        let reference = self.reference(pull);
        let key = (pull.namespace, reference.clone());
        if outcome.code == Some(exit::OK) {
            self.count("pulls that succeeded");
            // Whether a name was removed before or after it was set is nobody's to say.
            if !disturbed {
                let names = self.names(pull.namespace);
                assert!(names.contains(&reference), "{reference} was reported as pulled: {names:?}");
                self.named.insert(key);
            }
            return;
        }
        // He was gone before he could say so.
        let code = outcome.code.unwrap_or(exit::INTERRUPTED);
        self.count(format!("pulls that ended with {code}"));
        let expected =
            [exit::CONTENT, exit::NOT_FOUND, exit::UNAVAILABLE, exit::LOCAL_IO, exit::TRY_LATER, exit::CREDENTIALS];
        if code == exit::INTERRUPTED && (pull.given_up_after.is_some() || disturbed) {
            return;
        }
        let outcome = outcome.fails(code);
        assert!(expected.contains(&code), "{reference} ended with {code}: {}\n{}", outcome.stderr, self.daemon.log());
        assert!(code != exit::LOCAL_IO || disturbed, "the node is to blame: {}", outcome.stderr);
    }

    fn remove(&mut self, image: usize, namespace: usize) {
        // In the namespace of Kubernetes an image has several names.
        for name in self.names(namespace) {
            if self.number(&name) == image {
                self.containerd.ctr(&["-n", NAMESPACES[namespace], "images", "rm", "--sync", &name]);
                self.named.remove(&(namespace, name));
            }
        }
    }

    /// containerd's own client; what is planned for the daemon may hit it.
    fn neighbour(&mut self, image: usize, namespace: usize, registry: usize) {
        let reference = self.registries[registry].reference(&name(image));
        let pulled = self.containerd.ctr(&["-n", NAMESPACES[namespace], "images", "pull", "--plain-http", &reference]);
        self.count(if pulled.status.success() { "neighbours that pulled" } else { "neighbours that failed" });
        // What it left half done is containerd's to expire, and no matter of ours.
        for ingest in self.ingests(namespace) {
            self.containerd.ctr(&["-n", NAMESPACES[namespace], "content", "rm", &ingest]);
        }
    }

    fn names(&self, namespace: usize) -> BTreeSet<String> {
        self.lines(namespace, &["images", "ls", "-q"]).into_iter().collect()
    }

    /// What is being written, by containerd's word.
    fn ingests(&self, namespace: usize) -> Vec<String> {
        let rows = self.lines(namespace, &["content", "active"]);
        rows.iter().skip(1).filter_map(|row| row.split_whitespace().next().map(str::to_owned)).collect()
    }

    fn lines(&self, namespace: usize, args: &[&str]) -> Vec<String> {
        let all = [&["-n", NAMESPACES[namespace]], args].concat();
        self.containerd.ctr_prints(&all).lines().map(str::to_owned).collect()
    }

    /// What must hold whenever nothing is under way.
    pub(super) fn check(&mut self) {
        self.daemon.wait_for_pulls(<[_]>::is_empty);
        if std::mem::take(&mut self.is_untidy) {
            self.tidy();
        }
        for namespace in 0..NAMESPACES.len() {
            self.check_namespace(namespace);
        }
        self.check_leftovers();
        self.check_process();
        self.checks += 1;
    }

    /// A pull that needs a lease ends those of daemons that are dead.
    fn tidy(&mut self) {
        for namespace in NAMESPACES {
            let reference = self.registries[1].reference(TIDY);
            self.daemon.user().run(&["pull", &reference, "-n", namespace]).succeeds();
            let (at, _) = reference.rsplit_once(':').expect("a tag");
            let all = self.containerd.ctr_prints(&["-n", namespace, "images", "ls", "-q"]);
            let id = &self.images[IMAGES].manifests[0].config.digest;
            for name in all.lines().filter(|name| name.starts_with(at) || name == id) {
                self.containerd.ctr_prints(&["-n", namespace, "images", "rm", "--sync", name]);
            }
        }
    }

    fn check_namespace(&mut self, namespace: usize) {
        let names = self.names(namespace);
        for (_, reference) in self.named.iter().filter(|(of, _)| *of == namespace) {
            assert!(names.contains(reference), "{reference} was pulled, and nobody removed it: {names:?}");
        }
        self.containerd.collect(NAMESPACES[namespace]);
        assert_eq!(self.lines(namespace, &["leases", "ls", "-q"]), [""; 0], "leases: {}", self.daemon.log());
        assert_eq!(self.ingests(namespace), [""; 0], "ingests: {}", self.daemon.log());
        let (mut blobs, mut chains) = (BTreeSet::new(), BTreeSet::new());
        for reference in &names {
            let image = &self.images[self.number(reference)];
            for blob in image.blobs().into_iter().chain(&image.documents).chain([&image.root]) {
                blobs.insert(blob.digest.clone());
                let file = self.containerd.blobs().join(blob.hex());
                let bytes =
                    std::fs::read(&file).unwrap_or_else(|error| panic!("{reference}: {}: {error}", blob.digest));
                assert!(bytes == blob.bytes, "{reference}: {} has other bytes", blob.digest);
            }
            chains.extend(image.manifests[0].layers.iter().scan(String::new(), |above, layer| {
                above.push_str(&layer.digest);
                Some(above.clone())
            }));
        }
        let content: BTreeSet<String> = self.lines(namespace, &["content", "ls", "-q"]).into_iter().collect();
        assert_eq!(content, blobs, "content of {} is what its names need", NAMESPACES[namespace]);
        let snapshots = self.lines(namespace, &["snapshots", "ls"]).len().saturating_sub(1);
        assert_eq!(snapshots, chains.len(), "snapshots of {} are what its names need", NAMESPACES[namespace]);
        // One of them, in turn: that takes the longest.
        if let Some(reference) = names.iter().nth(self.checks % names.len().max(1)) {
            assert_eq!(self.containerd.run(NAMESPACES[namespace], &[reference, "whole"]), "whole\n", "{reference}");
        }
    }

    /// Which image has a name: `HOST/appN:1`, `HOST/appN@DIGEST` or its ID.
    fn number(&self, name: &str) -> usize {
        let by_id = self.images.iter().position(|image| image.manifests[0].config.digest == name);
        let number = name.split("/app").nth(1).and_then(|rest| rest.split([':', '@']).next()?.parse().ok());
        by_id.or(number).unwrap_or_else(|| panic!("{name} is no image of this run"))
    }

    /// Nothing in staging but downloads that go on, no tree, no mount, no temporary file.
    fn check_leftovers(&self) {
        for file in files_below(&self.daemon.staging()) {
            assert!(file.starts_with("sha256-"), "{file} is left in staging");
        }
        let root = self.containerd.folder().join("root");
        for folder in unpackings(&root) {
            let left = files_below(&folder);
            assert_eq!(left, [""; 0], "{} is left", folder.display());
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        let ours = self.containerd.folder().to_str().expect("UTF-8");
        assert!(!mounts.contains(ours), "something is mounted: {mounts}");
    }

    fn check_process(&mut self) {
        let process = self.daemon.process();
        let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", process.id())).map_or(0, Iterator::count);
        let (files, threads) = (count("fd"), count("task"));
        assert!(files < SPARE && threads < SPARE, "{files} descriptors and {threads} threads");
        let resident = process.proc_value("status", "VmRSS").expect("it runs");
        assert!(resident < RESIDENT, "{resident} KiB are resident");
        for (what, value) in [("most descriptors", files), ("most threads", threads), ("most KiB", resident as usize)] {
            let most = self.tally.entry(what.into()).or_default();
            *most = value.max(*most);
        }
    }

    /// In the end everything can be had, nothing of it twice, and all of it goes.
    pub(super) fn finish(&mut self) {
        let user: Lighterman<'_> = self.daemon.user();
        let references: Vec<String> = self
            .registries
            .iter()
            .flat_map(|registry| (0..IMAGES).map(|image| registry.reference(&name(image))))
            .collect();
        for namespace in NAMESPACES {
            for reference in &references {
                user.run(&["pull", reference, "-n", namespace]).succeeds();
            }
        }
        self.check();
        assert_eq!(files_below(&self.daemon.staging()), [""; 0], "everything was adopted");
        let before = self.fetches();
        for reference in &references {
            user.run(&["pull", reference]).succeeds().says(&["nothing to fetch"]);
        }
        assert_eq!(self.fetches(), before, "what is there is not fetched again");
        for namespace in 0..NAMESPACES.len() {
            (0..IMAGES).for_each(|image| self.remove(image, namespace));
        }
        self.check();
    }

    /// How often blobs were asked for.
    fn fetches(&self) -> usize {
        let liars = self.registries.iter().chain([&self.mirror]);
        liars.map(|liar| liar.requests_for("/blobs/").iter().filter(|request| request.method == "GET").count()).sum()
    }

    /// What happened, for people.
    pub(super) fn tally(&self) -> String {
        let rows = self.tally.iter().map(|(what, count)| format!("{count:>8}  {what}"));
        rows.chain([format!("{:>8}  checks", self.checks)]).collect::<Vec<_>>().join("\n")
    }
}

/// Where trees grow, beside the snapshots that they become.
fn unpackings(root: &Path) -> Vec<PathBuf> {
    let snapshotters = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    snapshotters.map(|path| path.join("lighterman")).filter(|path| path.is_dir()).collect()
}
