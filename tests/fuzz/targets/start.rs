//! How an image starts: its config, then files as path, a letter for what it is, and content, all with
//! a zero byte between. Permissions: `x` is executable, `p` was read in part, `d` a directory, `l` a loop,
//! `?` was not read.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use lighterman::core::descriptor::{Descriptor, MediaType};
use lighterman::core::digest::Digest;
use lighterman::core::extract::Extract;
use lighterman::core::limits::Limits;
use lighterman::core::manifest::{ImageConfig, Manifest};
use lighterman::diagnose::DiagnoseError;
use lighterman::diagnose::checks::{files, index, node};
use lighterman::diagnose::contents::{Contents, What};
use lighterman::diagnose::fleet::{Fleet, Image};
use lighterman::diagnose::rootfs::{Cost, File, Look, NotRead, RootFs};
use lighterman::diagnose::start::examine;
use lighterman::host::Node;
use lighterman_fuzz::heap;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0);
    let Ok(config) = ImageConfig::parse(parts.next().unwrap_or_default(), &Limits::default()) else { return };
    let mut table = Table::default();
    while let (Some(path), Some(mode), Some(content)) = (parts.next(), parts.next(), parts.next()) {
        let path = String::from_utf8_lossy(path).into_owned();
        table.files.insert(path, (mode.first().copied().unwrap_or(0), content.to_vec()));
    }
    let start = heap::within((4 << 20) + 1200 * data.len(), || examine(&mut table, &config));
    let start = start.expect("no layer is unreadable here");
    // A program and five more that are started in its place, each with five interpreters and a loader,
    // one of them with the other loaders, os-release; each program may be tried at 256 places.
    assert!(table.looks <= 3000, "{} looks", table.looks);
    assert!(start.next.len() <= 5, "{} programs", start.next.len());
    for chain in [&start.first].into_iter().chain(start.next.iter().map(|next| &next.chain)) {
        assert!(chain.steps.len() <= 6, "{} steps", chain.steps.len());
        for (position, step) in chain.steps.iter().enumerate() {
            match &step.what {
                What::Script { interpreter, argument, .. } => {
                    assert!(interpreter.len() + argument.as_ref().map_or(0, String::len) <= 3 * 254);
                    assert!(!interpreter.contains([' ', '\t', '\n']));
                }
                _ => assert_eq!(position + 1, chain.steps.len(), "only scripts lead on"),
            }
        }
    }
    if let Some(distribution) = &start.distribution {
        assert!(distribution.id.len() <= 3 * 4096 && !distribution.name.contains('\n'));
    }

    let descriptor = Descriptor::new(MediaType::OciConfig, Digest::of(b"config"), data.len() as u64);
    let manifest = Manifest { config: descriptor.clone(), layers: Vec::new(), annotations: Default::default() };
    let contents = Contents { path: Vec::new(), descriptor, manifest, config, start: Some(start) };
    let mut findings = files::check(&contents);
    let nodes = ["raspberry-pi-zero", "linux/amd64/v2"].map(|name| Node::known(name).expect("is known"));
    let image = Image { root: &contents.descriptor, entries: &[], contents: std::slice::from_ref(&contents) };
    let reference = "registry.example/app".parse().expect("a reference");
    findings.extend(index::check(&reference, image, &nodes));
    findings.extend(node::check(image, &nodes));
    let fleet = Fleet::of(image, &nodes);
    assert_eq!(fleet.nodes.len(), nodes.len());
    for finding in findings {
        assert!(!finding.message.is_empty() && !finding.message.contains(['\x1b', '\0']), "{:?}", finding.message);
    }
});

/// An image that is a table.
#[derive(Default)]
struct Table {
    files: BTreeMap<String, (u8, Vec<u8>)>,
    looks: usize,
}

impl RootFs for Table {
    fn look(&mut self, paths: &[String]) -> Result<Look, DiagnoseError> {
        self.looks += 1;
        let found = paths.iter().find_map(|asked| Some((asked, self.files.get(asked)?)));
        let Some((asked, (mode, content))) = found else { return Ok(Look::Absent) };
        Ok(match mode {
            b'd' => Look::Other { asked: asked.clone(), kind: "a directory" },
            b'l' => Look::Loop { asked: asked.clone() },
            b'?' => Look::NotRead(NotRead::Budget { left: 1 }),
            _ => Look::File(File {
                asked: asked.clone(),
                path: asked.clone(),
                layer: Digest::of(b"layer"),
                mode: if *mode == b'x' { 0o755 } else { 0o644 },
                content: if *mode == b'p' {
                    Extract::new(content.len() as u64 + 5000, content.clone())
                } else {
                    Extract::whole(content.clone())
                },
                verified: true,
                certain: true,
            }),
        })
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}
