//! What we unpack beside what containerd unpacks: the same trees, and the same refusals.
//!
//! Every image is pulled by ctr, whose containerd extracts the layers itself, and by us. What
//! is compared are the directories of the snapshots as they lie on the disk, so that nothing
//! hides behind the file system that is stacked from them: whiteout devices and the attributes
//! of opaque directories are told apart as well as paths, types, modes, owners, times, link
//! counts, attributes and bytes.

mod cases;
mod differ;
mod grown;
mod tar;
mod tree;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use lighterman::core::digest::Digest;
use lighterman::core::manifest::chain_ids;
use serde_json::Value;

use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture::{Flavour, Image, Layer, Manifest, platform};
use crate::support::host;
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;
use crate::support::snapshots::ByHand;
use cases::{Case, Verdict};
use tree::Nodes;

/// The value of `--extract-with` with which we extract layers ourselves.
const OWN: &str = "lighterman";

/// The directories of an image's layers, lowest first, or why there are none.
type Unpacked = Result<Vec<PathBuf>, String>;

/// A containerd and a registry, and the moment before which nothing in them was made.
struct Bed {
    daemon: ContainerdDaemon,
    /// Our daemon beside it, and who has it fill snapshots.
    ours: Daemon<'static>,
    hands: ByHand,
    registry: Registry,
    begin: SystemTime,
    /// What was seen of directories already: looking at links and files changes when they were
    /// read last, and snapshots are shared between images.
    seen: RefCell<HashMap<PathBuf, Rc<Nodes>>>,
}

impl Bed {
    fn start() -> Self {
        let begin = SystemTime::now();
        let daemon = ContainerdDaemon::start();
        let ours = Daemon::start(&daemon);
        let hands = ByHand::new(&daemon.address(), "overlayfs");
        Self { daemon, ours, hands, registry: Registry::plain(), begin, seen: RefCell::default() }
    }

    /// Unpacked by containerd, as ctr asks it to.
    fn theirs(&self, reference: &str, diff_ids: &[Digest]) -> Unpacked {
        let output = self.daemon.ctr(&["-n", "theirs", "images", "pull", "--plain-http", reference]);
        if output.status.success() {
            Ok(self.directories("theirs", diff_ids))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Pulled by us, into the namespace that is named after who extracts.
    fn ours(&self, extractor: &str, reference: &str, diff_ids: &[Digest]) -> Unpacked {
        let user = Lighterman::new();
        let (address, staging) = (self.daemon.address(), user.path("staging"));
        let [address, staging] = [&address, &staging].map(|path| path.to_str().expect("UTF-8"));
        let to = format!("containerd:{extractor}");
        let node =
            ["--to", &to, "--containerd-address", address, "--staging-dir", staging, "--extract-with", extractor];
        let outcome = user.run(&[&["pull", reference], &node[..]].concat());
        match outcome.code {
            Some(exit::OK) if extractor == OWN && outcome.stderr.contains("containerd extracts") => {
                panic!("containerd extracted {reference} itself: {outcome:?}")
            }
            Some(exit::OK) => Ok(self.directories(extractor, diff_ids)),
            Some(exit::CONTENT) => Err(outcome.stderr),
            _ => panic!("{reference} cannot be unpacked, and that is all: {outcome:?}"),
        }
    }

    /// Where the snapshots of some layers lie.
    fn directories(&self, namespace: &str, diff_ids: &[Digest]) -> Vec<PathBuf> {
        let top = chain_ids(diff_ids).pop().expect("a layer").to_string();
        let view = ["-n", namespace, "snapshots", "view", "--mounts", &format!("look at {top}"), &top];
        let mounts: Value = serde_json::from_str(&self.daemon.ctr_prints(&view)).expect("JSON");
        let mount = &mounts[0];
        let options = mount["Options"].as_array().expect("options").iter().filter_map(Value::as_str);
        let below = options.filter_map(|option| option.strip_prefix("lowerdir=")).next();
        // A single layer is no stack, but a directory that is mounted elsewhere.
        let directories = below.or(mount["Source"].as_str()).expect("a directory").split(':');
        directories.rev().map(PathBuf::from).collect()
    }

    fn nodes(&self, directory: &Path) -> Rc<Nodes> {
        let mut seen = self.seen.borrow_mut();
        let look = || Rc::new(tree::nodes(directory, self.begin));
        Rc::clone(seen.entry(directory.to_owned()).or_insert_with(look))
    }

    /// What differs when this case is unpacked.
    fn compare(&self, number: usize, case: &Case) -> Vec<String> {
        let layers: Vec<Layer> = match &case.packed {
            Some((media_type, blob)) => vec![Layer::packed(media_type, blob.clone(), &case.layers[0])],
            None => case.layers.iter().map(|tar| Layer::gzip(tar)).collect(),
        };
        let diff_ids: Vec<Digest> = case.layers.iter().map(|tar| Digest::of(tar)).collect();
        let manifest = Manifest::new(Flavour::Oci, &platform(host().arch, host().variant), &layers, ("/none", &[]));
        let blobs = manifest.layers.clone();
        let reference = self.registry.push(&Image::single(manifest), &format!("case:{number}"));
        let theirs = self.theirs(&reference, &diff_ids);
        let pulled = |extractor| (extractor, self.ours(extractor, &reference, &diff_ids));
        let mut hands = vec![pulled(OWN), pulled("diff-service")];
        hands.push(("differ", differ::unpack(&self.hands, &self.ours.socket(), number, &blobs, &case.layers)));
        if case.packed.is_none() {
            hands.push(("grown", grown::grow(&case.layers, &self.daemon.folder().join(format!("grown/{number}")))));
        }
        let told = |(hand, ours)| {
            let lines = self.judge(case, &theirs, &ours);
            lines.into_iter().map(move |line| format!("{}, {hand}: {line}", case.name))
        };
        hands.into_iter().flat_map(told).collect()
    }

    fn judge(&self, case: &Case, theirs: &Unpacked, ours: &Unpacked) -> Vec<String> {
        let mut wrong = Vec::new();
        let expected = if theirs.is_ok() { Verdict::Unpacks } else { Verdict::Refuses };
        if ![expected, Verdict::Either].contains(&case.verdict) {
            wrong.push(format!("containerd does not do what this case is about: {theirs:?}"));
        }
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => {
                assert_eq!((theirs.len(), ours.len()), (case.layers.len(), case.layers.len()), "{}", case.name);
                for (layer, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                    let lines = tree::differences(&self.nodes(ours), &self.nodes(theirs));
                    wrong.extend(lines.into_iter().map(|line| format!("layer {layer}, {line}")));
                }
            }
            (Err(_), Err(_)) => {}
            (Ok(_), Err(said)) => wrong.push(format!("only we refuse it: {said}")),
            (Err(said), Ok(_)) => wrong.push(format!("only containerd refuses it: {said}")),
        }
        wrong
    }
}

fn check(cases: &[Case]) {
    let bed = Bed::start();
    let wrong: Vec<String> = cases.iter().enumerate().flat_map(|(number, case)| bed.compare(number, case)).collect();
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn formats_and_headers() {
    check(&cases::headers());
}

#[test]
fn sparse_files() {
    check(&cases::sparse());
}

#[test]
fn ends_of_archives() {
    check(&cases::ends());
}

#[test]
fn packings() {
    check(&cases::packings());
}

#[test]
fn symbolic_and_hard_links() {
    check(&cases::links());
}

#[test]
fn devices_and_pipes() {
    check(&cases::nodes());
}

#[test]
fn extended_attributes() {
    check(&cases::attributes());
}

#[test]
fn floods_of_extended_attributes() {
    let (bed, case) = (Bed::start(), cases::flooded());
    let (layer, diff_ids) = (Layer::gzip(&case.layers[0]), [Digest::of(&case.layers[0])]);
    let manifest = Manifest::new(Flavour::Oci, &platform(host().arch, host().variant), &[layer], ("/none", &[]));
    let reference = bed.registry.push(&Image::single(manifest), "case:1");
    // What containerd's own differ says of it cannot be told from a full disk, so that one is left out.
    let (theirs, ours) = (bed.theirs(&reference, &diff_ids), bed.ours(OWN, &reference, &diff_ids));
    let wrong = bed.judge(&case, &theirs, &ours);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(ours.err().is_none_or(|said| said.contains("more extended attributes") && said.contains("the image")));
}

#[test]
fn paths_and_parents() {
    check(&cases::paths());
}

#[test]
fn entries_in_the_place_of_others() {
    check(&cases::replaced());
}

#[test]
fn implied_parents() {
    check(&cases::implied());
}

#[test]
fn whiteouts() {
    check(&cases::hidden());
}

#[test]
fn opaque_whiteouts() {
    check(&cases::opaque());
}

#[test]
fn whiteouts_in_the_bottom_layer() {
    check(&cases::bottom());
}

/// Of what is made at random: always the same, unless somebody asks for others. Each is named in what
/// is said of it, so that it can be had again.
fn seeds() -> Range<u64> {
    let Ok(named) = std::env::var("LIGHTERMAN_LIKENESS_SEEDS") else { return 1..25 };
    let ends = named.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.expect("LIGHTERMAN_LIKENESS_SEEDS is like 1000..2000")
}

#[test]
fn entries_at_random() {
    check(&cases::random(seeds()));
}

#[test]
fn damage_at_random() {
    check(&cases::damaged(seeds()));
}

#[test]
fn packages_of_this_machine() {
    check(&cases::packages());
}
