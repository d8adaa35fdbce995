//! What must hold whenever nothing is under way, and in the end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::images::{IMAGES, TIDY, name, stacks};
use super::world::{NAMESPACES, World};
use crate::support::files_below;

/// KiB that the daemon may have resident, here where it is not optimised.
const RESIDENT: u64 = 400 * 1024;
/// Descriptors and threads beyond those at its first rest: idle connections, and threads that wait for work.
const SPARE: usize = 600;

impl World {
    /// What must hold whenever nothing is under way.
    pub(super) fn check(&mut self) {
        self.daemon.wait_for_pulls(<[_]>::is_empty);
        if std::mem::take(&mut self.is_untidy) {
            self.tidy();
        }
        for namespace in 0..NAMESPACES.len() {
            self.check_namespace(namespace);
        }
        self.check_one_runs();
        self.check_leftovers();
        self.check_process();
        self.checks += 1;
    }

    /// A pull that needs a lease ends those of daemons that are dead.
    fn tidy(&mut self) {
        for namespace in NAMESPACES {
            let reference = self.registries()[1].reference(TIDY);
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
        assert_eq!(self.leases(namespace), [""; 0], "leases: {}", self.daemon.log());
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
            chains.extend(stacks(image));
        }
        let content: BTreeSet<String> = self.lines(namespace, &["content", "ls", "-q"]).into_iter().collect();
        assert_eq!(content, blobs, "content of {} is what its names need", NAMESPACES[namespace]);
        let snapshots = self.lines(namespace, &["snapshots", "ls"]).len().saturating_sub(1);
        assert_eq!(snapshots, chains.len(), "snapshots of {} are what its names need", NAMESPACES[namespace]);
    }

    /// One of them, in turn: that takes the longest.
    fn check_one_runs(&self) {
        let namespace = self.checks % NAMESPACES.len();
        let names = self.names(namespace);
        if let Some(reference) = names.iter().nth(self.checks / NAMESPACES.len() % names.len().max(1)) {
            // Another run of this test may be at it on the same machine.
            let container = format!("chaos-{}", std::process::id());
            // Its exit says whether all files are what they were, and `run` goes by that. What a program
            // prints that ends at once, ctr loses on a busy machine.
            let said = self.containerd.run(NAMESPACES[namespace], &[reference, &container]);
            assert!(["whole\n", ""].contains(&said.as_str()), "{reference}: {said}");
        }
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
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        let ours: Vec<_> = points.filter(|point| point.starts_with(self.containerd.folder())).collect();
        assert_eq!(ours, [root], "something is mounted");
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
        self.clock.set(0);
        let user = self.daemon.user();
        let references: Vec<String> = self
            .registries()
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
        self.remove_all();
        self.check();
        // Whatever happened, the short way is found again.
        let pulled = user.run(&["pull", &references[0], "--json"]).succeeds().pulled();
        let way = if self.is_beside { "contentLinked" } else { "contentWritten" };
        assert_eq!(pulled[way], pulled["blobsFetched"], "{pulled:#}\n{}", self.daemon.log());
        self.remove_all();
        self.check();
    }

    fn remove_all(&mut self) {
        for namespace in 0..NAMESPACES.len() {
            (0..IMAGES).for_each(|image| self.remove(image, namespace));
        }
    }

    /// How often blobs were asked for.
    fn fetches(&self) -> usize {
        let of = |request: &crate::support::liar::Request| request.method == "GET";
        self.liars.iter().map(|liar| liar.requests_for("/blobs/").iter().filter(|request| of(request)).count()).sum()
    }
}

/// Where trees grow, beside the snapshots that they become.
fn unpackings(root: &Path) -> Vec<PathBuf> {
    let snapshotters = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    snapshotters.map(|path| path.join("lighterman")).filter(|path| path.is_dir()).collect()
}
