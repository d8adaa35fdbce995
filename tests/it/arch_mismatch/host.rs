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

/// A static x86-64 program with a note that demands these levels: bit 0 is the baseline.
fn demanding(levels: u32) -> Vec<u8> {
    let mut property = Vec::new();
    for word in [0xc000_8002_u32, 4, levels, 0] {
        property.extend(word.to_le_bytes());
    }
    let mut note = Vec::new();
    for word in [4, 16, 5_u32] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"GNU\0");
    note.extend(property);
    let (header, segment) = (64_u64, 56_u64);
    let at = header + 2 * segment;
    let size = at + note.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2_u16, 62].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    file.extend([0x40_0000 + at, header, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
    for (kind, offset, length, align) in [(1_u32, 0, size, 4096_u64), (4, at, note.len() as u64, 8)] {
        file.extend(kind.to_le_bytes());
        file.extend(5_u32.to_le_bytes());
        file.extend(
            [offset, 0x40_0000 + offset, 0x40_0000 + offset, length, length, align].map(u64::to_le_bytes).concat(),
        );
    }
    file.extend(note);
    file
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
async fn claims_of_a_later_cpu_are_refused_before_anything_is_fetched() {
    let (containerd, registry, host) = (ContainerdDaemon::start(), Registry::plain(), westmere());
    let image = image(&demanding(0b1), "v4");
    let reference = tokio::task::block_in_place(|| registry.push(&image, "app:1"));
    let refused = pull(&containerd, &host, (&reference, Stance::default())).await.expect_err("is refused");
    assert!(refused.to_string().contains("linux/amd64/v4"), "{refused}");
    let pulled = pull(&containerd, &host, (&reference, Action::Warn.into())).await.expect("is warned of");
    assert_eq!(pulled.warnings.len(), 0, "{:?}", pulled.warnings);
    let log = registry.stop();
    assert_eq!(log.count("GET", &format!("/blobs/{}", image.manifests[0].layers[0].digest)), 1);
}
