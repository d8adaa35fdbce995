//! Images as they are in the world: how many layers, what is in each, where the program lies.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::json;

use super::layer::{Item, Layer, Packing, write};

/// Compressed bytes of one of the layers that fill a large image.
const LARGE: u64 = 120_000_000;
const MEDIUM: u64 = 20_000_000;
/// Files above this size are in no filler, so that the place of a program is what it is meant to be.
const LARGEST_FILE: u64 = 4_000_000;
/// Debian's containerd brings both.
const LARGE_GO: &str = "/usr/bin/ctr";
const SMALL_GO: &str = "/usr/bin/containerd-shim";
/// End of the names of images of whose program only the start is read.
const START_ONLY: &str = "its start only";
/// As Docker's official images have it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image of the table.
pub(crate) struct Image {
    pub(crate) name: String,
    /// Lowest first.
    pub(crate) layers: Vec<Rc<Layer>>,
    commands: Vec<String>,
    argv: Vec<&'static str>,
    /// Parts of the program far behind its start are read, too.
    pub(crate) beyond_start: bool,
}

impl Image {
    /// Its config.
    pub(crate) fn config(&self) -> String {
        let history: Vec<_> = self.commands.iter().map(|command| json!({ "created_by": command })).collect();
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| layer.descriptor.digest.to_string()).collect();
        let config = json!({
            "os": "linux", "architecture": "amd64", "config": { "Entrypoint": self.argv, "Env": [PATH] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids }, "history": history,
        });
        config.to_string()
    }
}

/// All images.
pub(crate) struct Corpus {
    pub(crate) images: Vec<Image>,
}

/// What images are made of.
struct Shop<'a> {
    folder: &'a Path,
    wanted: &'a [String],
    /// Files of this machine, small and in a mixed order.
    files: Vec<PathBuf>,
    layers: RefCell<HashMap<String, Rc<Layer>>>,
    images: Vec<Image>,
}

impl Corpus {
    /// Makes the images whose names have one of these in them, or all.
    pub(crate) fn make(folder: &Path, wanted: &[String]) -> Self {
        let layers = RefCell::default();
        let mut shop = Shop { folder, wanted, files: survey(), layers, images: Vec::new() };
        small(&mut shop);
        built_on_debian(&mut shop);
        large(&mut shop);
        packed(&mut shop);
        Self { images: shop.images }
    }

    /// The files of all layers, by digest.
    pub(crate) fn blobs(&self) -> HashMap<String, PathBuf> {
        let layers = self.images.iter().flat_map(|image| &image.layers);
        layers.map(|layer| (layer.descriptor.digest.to_string(), layer.path.clone())).collect()
    }
}

/// One layer by name, of these items.
type Part = (&'static str, Packing, fn(&Shop<'_>) -> Box<dyn Iterator<Item = Item>>, u64);

impl Shop<'_> {
    fn add(&mut self, name: &str, argv: &[&'static str], layers: &[(Part, &str)]) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            return;
        }
        let commands: Vec<String> = layers.iter().map(|(_, command)| (*command).to_owned()).collect();
        let told = commands.iter().any(|command| !command.is_empty());
        self.images.push(Image {
            name: name.into(),
            layers: layers.iter().map(|(part, _)| self.layer(part)).collect(),
            commands: if told { commands } else { Vec::new() },
            argv: argv.to_vec(),
            beyond_start: !name.ends_with(START_ONLY),
        });
    }

    fn layer(&self, (name, packing, items, most): &Part) -> Rc<Layer> {
        if let Some(layer) = self.layers.borrow().get(*name) {
            return Rc::clone(layer);
        }
        let layer = Rc::new(write(self.folder.join(name), *packing, *most, &mut items(self)));
        self.layers.borrow_mut().insert((*name).to_owned(), Rc::clone(&layer));
        layer
    }

    /// Every fourth file, from the `deal`th on, below a directory of its own.
    fn filler(&self, directory: &str, deal: usize) -> Box<dyn Iterator<Item = Item>> {
        let files: Vec<PathBuf> = self.files.iter().skip(deal).step_by(4).cloned().collect();
        let directory = directory.to_owned();
        let items = (0_u32..).zip(files);
        Box::new(items.map(move |(number, path)| Item::File(format!("{directory}/{:03}/{number}", number / 100), path)))
    }
}

fn survey() -> Vec<PathBuf> {
    let mut pending = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/share"), PathBuf::from("/usr/bin")];
    let mut found = Vec::new();
    while let Some(directory) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if metadata.is_file() && (1..LARGEST_FILE).contains(&metadata.len()) {
                found.push(entry.path());
            }
        }
    }
    // By name alone: programs, libraries and texts come in turns.
    found.sort_by(|one, other| one.file_name().cmp(&other.file_name()).then_with(|| one.cmp(other)));
    found
}

/// A static program, and a dynamic one.
fn program(path: &str) -> Item {
    Item::File(path.into(), "/bin/busybox".into())
}

fn dynamic(path: &str) -> Item {
    Item::File(path.into(), "/bin/bash".into())
}

fn link(path: &str, target: &str) -> Item {
    Item::Symlink(path.into(), target.into())
}

const APP: Part = ("app", Packing::Gzip, |_| Box::new([program("app")].into_iter()), u64::MAX);
const DYNAMIC: Part = ("dynamic", Packing::Gzip, |_| Box::new([dynamic("srv/app")].into_iter()), u64::MAX);
const TINY: Part =
    ("tiny", Packing::Gzip, |_| Box::new([Item::Text("etc/motd".into(), "moin\n")].into_iter()), u64::MAX);
const BASE: Part = ("base", Packing::Gzip, |_| base(), u64::MAX);
const MEDIUMS: [Part; 2] = [
    ("medium-0", Packing::Gzip, |shop| shop.filler("var/lib/medium", 0), MEDIUM),
    ("medium-1", Packing::Gzip, |shop| shop.filler("opt/medium", 1), MEDIUM),
];
const FILLERS: [Part; 4] = [
    ("large-0", Packing::Gzip, |shop| shop.filler("var/lib/zero", 0), LARGE),
    ("large-1", Packing::Gzip, |shop| shop.filler("var/lib/one", 1), LARGE),
    ("large-2", Packing::Gzip, |shop| shop.filler("var/lib/two", 2), LARGE),
    ("large-3", Packing::Gzip, |shop| shop.filler("var/lib/three", 3), LARGE),
];

/// What a distribution brings: links first, then programs and libraries in order.
fn base() -> Box<dyn Iterator<Item = Item>> {
    let links = [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")];
    let mut items: Vec<Item> = links.into_iter().map(|(path, target)| link(path, target)).collect();
    items.push(Item::Directory("etc/".into()));
    items.push(link("etc/os-release", "../usr/lib/os-release"));
    for directory in ["usr/bin", "usr/lib", "usr/lib64", "usr/lib/x86_64-linux-gnu"] {
        items.push(Item::Directory(format!("{directory}/")));
        let mut names: Vec<_> = std::fs::read_dir(Path::new("/").join(directory)).expect("Debian").flatten().collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        // As much as a small base image has.
        let mut left: u64 = 40_000_000;
        for entry in names {
            let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
            let path = format!("{directory}/{}", name.to_string_lossy());
            let size = entry.metadata().map_or(0, |metadata| metadata.len());
            let is_needed = name == "ld-linux-x86-64.so.2" || name == "bash" || name == "dash" || name == "os-release";
            if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).expect("a link");
                items.push(Item::Symlink(path, target.to_string_lossy().into_owned()));
            } else if kind.is_file() && (is_needed || (size < 1_500_000 && size <= left)) {
                left = left.saturating_sub(size);
                items.push(Item::File(path, entry.path()));
            }
        }
    }
    Box::new(items.into_iter().filter(|item| match item {
        Item::Symlink(path, target) => path.len() < 100 && target.len() < 100,
        Item::File(path, _) => path.len() < 100,
        _ => true,
    }))
}

fn small(shop: &mut Shop<'_>) {
    let seed: Part = (
        "seed",
        Packing::Gzip,
        |_| {
            Box::new(
                [Item::Directory("go/".into()), Item::Directory("go/bin/".into()), program("go/bin/app")].into_iter(),
            )
        },
        u64::MAX,
    );
    shop.add("seed: FROM scratch, one program", &["/go/bin/app"], &[(seed, "COPY go /go")]);
    let go: Part =
        ("go", Packing::Gzip, |_| Box::new([Item::File("app".into(), LARGE_GO.into())].into_iter()), u64::MAX);
    shop.add("a large Go program", &["/app"], &[(go, "COPY app /app")]);
    let small: Part =
        ("small", Packing::Gzip, |_| Box::new([Item::File("app".into(), SMALL_GO.into())].into_iter()), u64::MAX);
    shop.add("a smaller Go program", &["/app"], &[(small, "COPY app /app")]);
    shop.add(&format!("a smaller Go program, {START_ONLY}"), &["/app"], &[(small, "COPY app /app")]);
    let busybox: Part = (
        "busybox",
        Packing::Gzip,
        |_| {
            let links = (0..300).map(|number| Item::HardLink(format!("bin/applet-{number:03}"), "bin/[".into()));
            let sh = Item::HardLink("bin/sh".into(), "bin/[".into());
            Box::new([Item::Directory("bin/".into()), program("bin/[")].into_iter().chain(links).chain([sh]))
        },
        u64::MAX,
    );
    shop.add("busybox: sh along PATH, a hard link", &["sh"], &[(busybox, "ADD busybox.tar.xz / # buildkit")]);
    shop.add("debian: bash along PATH", &["bash"], &[(BASE, "/bin/sh -c #(nop) ADD file:0123 in / ")]);
}

fn built_on_debian(shop: &mut Shop<'_>) {
    let add = "/bin/sh -c #(nop) ADD file:0123 in / ";
    let apt = "RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends ca-certificates # buildkit";
    shop.add("debian + app, dynamic", &["/srv/app"], &[(BASE, add), (DYNAMIC, "COPY app /srv/app # buildkit")]);
    let python: Part = (
        "python",
        Packing::Gzip,
        |shop| {
            let program = [link("usr/local/bin/python3", "python3.12"), dynamic("usr/local/bin/python3.12")];
            Box::new(program.into_iter().chain(shop.filler("usr/local/lib/python3.12", 2)))
        },
        MEDIUM,
    );
    let make = "RUN /bin/sh -c set -eux; make install; /usr/local/bin/python3 --version # buildkit";
    let pip = "RUN /bin/sh -c pip install -r requirements.txt # buildkit";
    let top = "COPY . /srv/www # buildkit";
    let layers = [(BASE, add), (MEDIUMS[0], apt), (python, make), (MEDIUMS[1], pip), (TINY, top)];
    shop.add("python: a link in the middle layer", &["python3", "/srv/www/main.py"], &layers);
    let silent = layers.map(|(part, _)| (part, ""));
    shop.add("python, without history", &["python3", "/srv/www/main.py"], &silent);
    let node: Part = (
        "node",
        Packing::Gzip,
        |shop| {
            Box::new([dynamic("usr/local/bin/node")].into_iter().chain(shop.filler("usr/local/lib/node_modules", 3)))
        },
        MEDIUM,
    );
    let script: Part = (
        "script",
        Packing::Gzip,
        |_| {
            let text = "#!/bin/sh\nexec node \"$@\"\n";
            Box::new([Item::Text("usr/local/bin/docker-entrypoint.sh".into(), text)].into_iter())
        },
        u64::MAX,
    );
    let tar = "RUN /bin/sh -c tar -xJf node.tar.xz -C /usr/local --strip-components=1 # buildkit";
    let copy = "COPY docker-entrypoint.sh /usr/local/bin/ # buildkit";
    let layers = [(BASE, add), (MEDIUMS[0], apt), (node, tar), (script, copy), (MEDIUMS[1], top)];
    shop.add("node: a script, which starts node", &["docker-entrypoint.sh", "node"], &layers);
    let opt: Part = ("opt", Packing::Gzip, |_| Box::new([dynamic("opt/app/1.0/bin/app")].into_iter()), u64::MAX);
    let current: Part =
        ("current", Packing::Gzip, |_| Box::new([link("opt/app/current", "1.0")].into_iter()), u64::MAX);
    let layers = [(BASE, ""), (opt, ""), (current, ""), (MEDIUMS[0], "")];
    shop.add("a linked directory, two layers below", &["/opt/app/current/bin/app"], &layers);
}

fn large(shop: &mut Shop<'_>) {
    let [a, b, c, d] = FILLERS;
    let copy = "COPY app /app # buildkit";
    let run = "RUN /bin/sh -c make # buildkit";
    for (name, layers) in [
        ("500 MB: at the top", [BASE, a, b, c, d, APP]),
        ("500 MB: in the middle", [BASE, a, b, APP, c, d]),
        ("500 MB: at the bottom", [BASE, APP, a, b, c, d]),
    ] {
        let silent = layers.map(|part| (part, ""));
        shop.add(name, &["/app"], &silent);
        let told = layers.map(|part| (part, if part.0 == APP.0 { copy } else { run }));
        shop.add(&format!("{name}, history"), &["/app"], &told);
    }
    let at = |share: u64| -> Part {
        let items: fn(&Shop<'_>) -> Box<dyn Iterator<Item = Item>> = match share {
            1 => |shop| amid(shop, 100),
            10 => |shop| amid(shop, 1_000),
            _ => |shop| amid(shop, 5_000),
        };
        (
            match share {
                1 => "amid-1",
                10 => "amid-10",
                _ => "amid-50",
            },
            Packing::Gzip,
            items,
            LARGE,
        )
    };
    for (name, share) in [("1 %", 1), ("10 %", 10), ("half", 50)] {
        let layers = [(BASE, ""), (b, ""), (c, ""), (d, ""), (at(share), "")];
        shop.add(&format!("500 MB: about {name} into the top layer"), &["/app"], &layers);
    }
    let layers = [BASE, a, b, c, d].map(|part| (part, ""));
    shop.add("500 MB: bash of the base, along PATH", &["bash"], &layers);
    let layers = [BASE, a, b, c, d, DYNAMIC].map(|part| (part, ""));
    shop.add("500 MB: dynamic, at the top", &["/srv/app"], &layers);
}

/// A program behind so many files.
fn amid(shop: &Shop<'_>, before: usize) -> Box<dyn Iterator<Item = Item>> {
    let mut files = shop.filler("var/lib/amid", 0);
    let first: Vec<Item> = files.by_ref().take(before).collect();
    Box::new(first.into_iter().chain([program("app")]).chain(files))
}

fn packed(shop: &mut Shop<'_>) {
    let part = |name, packing| -> Part { (name, packing, |shop| amid(shop, 2_000), LARGE) };
    for (name, packing) in [
        ("120 MB: 2000 files before it, gzip", Packing::Gzip),
        ("120 MB: 2000 files before it, uncompressed", Packing::Plain),
        ("120 MB: 2000 files before it, zstd", Packing::Zstd),
        ("120 MB: 2000 files before it, eStargz", Packing::Estargz),
        ("120 MB: 2000 files before it, zstd:chunked", Packing::Chunked),
    ] {
        shop.add(name, &["/app"], &[(part(name, packing), "")]);
    }
}
