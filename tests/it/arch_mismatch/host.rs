//! Nodes that we do not have, before a real containerd.

use std::collections::BTreeMap;

use lighterman::core::mismatch::{Action, Stance};
use lighterman::fetch::progress::Silent;
use lighterman::host::{Auxv, CpuidRegisters, LocalHost, Recorded, Uname};
use lighterman::pull::{PullError, Pulled, Puller};
use lighterman::store::containerd::{Containerd, ContainerdOptions, Handover};
use lighterman::unpack::containerd::Unpacker;
use lighterman::unpack::options::Options;

use crate::support::containerd::ContainerdDaemon;
use crate::support::engine;
use crate::support::fixture::{Flavour, Image, Layer, Manifest, Tree, platform};
use crate::support::registry::Registry;

/// A 64-bit PC of level v2: SSE4.2, and no AVX.
fn westmere() -> LocalHost {
    let registers = |eax, ebx, ecx, edx| CpuidRegisters { eax, ebx, ecx, edx };
    let cpuid = BTreeMap::from([
        ((0, 0), registers(0xb, 0, 0, 0)),
        ((1, 0), registers(0, 0, 0x029e_e3ff, 0)),
        ((0x8000_0000, 0), registers(0x8000_0008, 0, 0, 0)),
        ((0x8000_0001, 0), registers(0, 0, 1, 0x2c10_0800)),
    ]);
    LocalHost::new(Box::new(Recorded {
        process_architecture: "amd64".into(),
        uname: Uname { machine: "x86_64".into(), release: "6.1.0".into() },
        auxv: Auxv { platform: Some("x86_64".into()), hwcap: 0, hwcap2: 0, page_size: 4096 },
        personality: Some(0),
        cpuid,
        ..Recorded::default()
    }))
}

/// A static x86-64 program with a note that demands these levels, bit 0 being the baseline, and Go's
/// description of how it was built, where there is one.
fn program(levels: u32, settings: Option<&str>) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let note = [words(&[4, 16, 5]), b"GNU\0".to_vec(), words(&[0xc000_8002, 4, levels, 0])].concat();
    let build = settings.map(described).unwrap_or_default();
    let (header, segment) = (64, 56);
    let at_note: u64 = header + 3 * segment;
    let at_build = (at_note + note.len() as u64).next_multiple_of(16);
    let code = (1_u32, 5_u32, 0, at_build, 0x40_0000);
    let data = (1, 6, at_build, build.len() as u64, 0x60_0000);
    let noted = (4, 4, at_note, note.len() as u64, 0x40_0000);
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2_u16, 62].map(u16::to_le_bytes).concat());
    file.extend(words(&[1]));
    file.extend([0x40_0000 + at_note, header, 0].map(u64::to_le_bytes).concat());
    file.extend(words(&[0]));
    file.extend([64_u16, 56, 3, 0, 0, 0].map(u16::to_le_bytes).concat());
    for (kind, flags, offset, length, base) in [code, data, noted] {
        file.extend(words(&[kind, flags]));
        let align = if kind == 1 { 4096 } else { 8 };
        file.extend([offset, base + offset, base + offset, length, length, align].map(u64::to_le_bytes).concat());
    }
    file.extend(note);
    file.resize(usize::try_from(at_build).expect("a short file"), 0);
    file.extend(build);
    file
}

/// What Go 1.18 and newer write at the start of a program's data.
fn described(settings: &str) -> Vec<u8> {
    let text = |bytes: &[u8]| {
        let length = bytes.len();
        assert!(length < 1 << 14, "two bytes of length");
        let (low, high) = ((length & 0x7f) as u8 | 0x80, (length >> 7) as u8);
        [&[low, high], bytes].concat()
    };
    let modules = [&[0x30; 16][..], settings.as_bytes(), &[0xf9; 16]].concat();
    let mut header = b"\xff Go buildinf:\x08\x02".to_vec();
    header.resize(32, 0);
    [header, text(b"go1.22.3"), text(&modules)].concat()
}

fn image(program: &[u8], variant: &str) -> Image {
    let layer: Layer = Tree::new().file("app", 0o755, program).layer();
    Image::single(Manifest::new(Flavour::Oci, &platform("amd64", variant), &[layer], ("/app", &[])))
}

/// Pulls on this host, unpacked, into a containerd that cannot tell the difference.
async fn pull(
    containerd: &ContainerdDaemon,
    host: &LocalHost,
    (reference, on_mismatch): (&str, Stance),
) -> Result<Pulled, PullError> {
    let reference: lighterman::core::reference::Reference = reference.parse().expect("well formed");
    let fetcher = engine::fetcher(&reference);
    let options = ContainerdOptions {
        namespace: "default".into(),
        snapshotter: "overlayfs".into(),
        staging: Some(containerd.folder().join("root/staging")),
        content: Handover::Link,
    };
    let store = Containerd::connect(&containerd.address(), options).await.expect("containerd answers");
    let unpacker = Unpacker::new(store.clone(), fetcher.engine().clone(), Options::default());
    let puller = Puller { unpacker: Some(&unpacker), observer: &Silent, ..engine::puller(&fetcher, &store, host) };
    let request = lighterman::pull::PullRequest { on_mismatch, ..engine::request(reference.clone()) };
    let plan = puller.plan(&request).await?;
    puller.land(&plan, &Default::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_says_it_is_for_a_later_cpu_is_warned_of_or_refused() {
    let (containerd, registry, host) = (ContainerdDaemon::start(), Registry::plain(), westmere());
    let push = |program: &[u8], name: &str| tokio::task::block_in_place(|| registry.push(&image(program, ""), name));
    let built =
        |level: &str| program(1, Some(&format!("build\tCGO_ENABLED=0\nbuild\tGOARCH=amd64\nbuild\tGOAMD64={level}\n")));
    let (v2, v4) = (push(&built("v2"), "app:2"), push(&built("v4"), "app:4"));
    let pulled = pull(&containerd, &host, (&v2, Action::Refuse.into())).await.expect("runs here");
    assert_eq!(pulled.warnings, [""; 0]);
    let pulled = pull(&containerd, &host, (&v4, Stance::default())).await.expect("is warned of");
    let [warning] = pulled.warnings.try_into().expect("one warning");
    assert!(warning.contains("ISA-001") && warning.contains("v4"), "{warning}");
    containerd.ctr_prints(&["images", "rm", "--sync", &v4]);
    let refused = pull(&containerd, &host, (&v4, Action::Refuse.into())).await.expect_err("is refused");
    assert!(refused.to_string().contains("ISA-001"), "{refused}");
    assert!(!containerd.ctr_prints(&["images", "ls", "-q"]).contains(&v4));
}

/// Linkers take such notes over from any object that they link, so they prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_note_of_a_level_is_a_hint_and_refuses_nothing() {
    let (containerd, registry, host) = (ContainerdDaemon::start(), Registry::plain(), westmere());
    let image = image(&program(0b1000, None), "");
    let reference = tokio::task::block_in_place(|| registry.push(&image, "app:1"));
    let pulled = pull(&containerd, &host, (&reference, Action::Refuse.into())).await.expect("may run");
    let [warning] = pulled.warnings.try_into().expect("one warning");
    assert!(warning.contains("ISA-001"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_a_later_cpu_are_refused_before_anything_is_fetched() {
    let (containerd, registry, host) = (ContainerdDaemon::start(), Registry::plain(), westmere());
    let image = image(&program(1, None), "v4");
    let reference = tokio::task::block_in_place(|| registry.push(&image, "app:1"));
    let refused = pull(&containerd, &host, (&reference, Stance::default())).await.expect_err("is refused");
    assert!(refused.to_string().contains("linux/amd64/v4"), "{refused}");
    let pulled = pull(&containerd, &host, (&reference, Action::Warn.into())).await.expect("is warned of");
    assert_eq!(pulled.warnings.len(), 0, "{:?}", pulled.warnings);
    let log = registry.stop();
    assert_eq!(log.count("GET", &format!("/blobs/{}", image.manifests[0].layers[0].digest)), 1);
}
