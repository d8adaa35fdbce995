use super::*;
use crate::core::descriptor::MediaType;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::store::Role;
use crate::store::staging::Turn;

fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::OciManifest, Digest::of(content), content.len() as u64)
}

fn reference() -> Reference {
    "busybox:1".parse().expect("parses")
}

async fn stage(layout: &Layout, content: &[u8]) -> Verified<Staged> {
    let Turn::Ours(partial) = layout.staging().begin(&descriptor(content)).expect("begins") else { panic!("taken") };
    partial.write_at(0, content, "here").expect("writes");
    partial.verify().await.expect("is whole")
}

fn record(root: &[u8], manifest: Option<Descriptor>) -> ImageRecord {
    ImageRecord { reference: reference(), root: descriptor(root), manifest, config: None, pin_manifest: false }
}

#[tokio::test]
async fn holds_what_was_adopted_and_named() {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path().join("deep/layout");
    let layout = Layout::open_or_create(&root).expect("opens");
    assert!(!root.exists(), "nothing is written before content arrives");
    let reference = reference();
    let belongs = Belongs { role: Role::Config, source: &reference };
    let lease = layout.lease().await.expect("leases");
    assert!(!layout.claim(&lease, &descriptor(b"cargo"), belongs).await.expect("claims"));
    layout.adopt(&lease, &stage(&layout, b"cargo").await, belongs).await.expect("adopts");
    layout.adopt(&lease, &stage(&layout, b"cargo").await, belongs).await.expect("adopting twice is no error");
    layout.put(&lease, Verified::seal(Bytes::from_static(b"papers")), belongs).await.expect("puts");
    assert!(layout.claim(&lease, &descriptor(b"cargo"), belongs).await.expect("claims"));
    let manifest = Descriptor { platform: Some(Platform::linux("arm", "v7")), ..descriptor(b"cargo") };
    layout.name(&lease, &record(b"papers", Some(manifest.clone()))).await.expect("names");
    layout.release(lease).await.expect("releases");
    assert!(!root.join(STAGING).exists(), "nothing partial is left");

    let layout = Layout::open(&root).expect("is a layout");
    let known = layout.lookup(&reference.to_string()).await.expect("looks up").expect("is named");
    assert_eq!((known.target.digest, known.root), (manifest.digest.clone(), Some(Digest::of(b"papers"))));
    assert_eq!(known.platform, manifest.platform);
    assert_eq!(layout.names().await.expect("lists"), ["docker.io/library/busybox:1"]);
    let document = layout.document(&descriptor(b"papers")).await.expect("reads").expect("is there");
    assert_eq!(document.content().as_ref(), b"papers");
}

#[tokio::test]
async fn a_new_name_replaces_the_old_and_spares_the_others() {
    let folder = tempfile::tempdir().expect("folder");
    let layout = Layout::open_or_create(folder.path()).expect("opens");
    let lease = layout.lease().await.expect("leases");
    let foreign = r#"{"schemaVersion":2,"x":1,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"y":2,"annotations":{"org.opencontainers.image.ref.name":"other"}}]}"#;
    std::fs::write(folder.path().join("index.json"), foreign).expect("writes");
    layout.name(&lease, &record(b"first", None)).await.expect("names");
    layout.name(&lease, &record(b"second", None)).await.expect("names");
    assert_eq!(layout.names().await.expect("lists"), ["docker.io/library/busybox:1", "other"]);
    let known = layout.lookup(&reference().to_string()).await.expect("looks up").expect("is named");
    assert_eq!(known.target.digest, Digest::of(b"second"));
    let written = std::fs::read_to_string(folder.path().join("index.json")).expect("reads");
    assert!(written.contains("\"x\": 1") && written.contains("\"y\": 2"), "foreign fields survive: {written}");
}

#[tokio::test]
async fn damaged_content_is_noticed() {
    let folder = tempfile::tempdir().expect("folder");
    let layout = Layout::open_or_create(folder.path()).expect("opens");
    let lease = layout.lease().await.expect("leases");
    let reference = reference();
    let belongs = Belongs { role: Role::Config, source: &reference };
    layout.put(&lease, Verified::seal(Bytes::from_static(b"papers")), belongs).await.expect("puts");
    let path = layout.blob_path(&Digest::of(b"papers"));
    std::fs::write(&path, b"papyri").expect("writes");
    assert!(matches!(layout.document(&descriptor(b"papers")).await, Err(StoreError::Damaged(_))));
    std::fs::write(&path, b"pap").expect("writes");
    assert!(!layout.claim(&lease, &descriptor(b"papers"), belongs).await.expect("claims"));
    layout.adopt(&lease, &stage(&layout, b"papers").await, belongs).await.expect("replaces a truncated blob");
    assert!(layout.document(&descriptor(b"papers")).await.expect("reads").is_some());
}

#[tokio::test]
async fn a_pull_that_came_to_nothing_leaves_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path().join("layout");
    let layout = Layout::open_or_create(&root).expect("opens");
    let lease = layout.lease().await.expect("leases");
    assert!(root.join("oci-layout").exists());
    layout.release(lease).await.expect("releases");
    assert!(!root.exists());
}

#[test]
fn refuses_directories_that_are_something_else() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"x").expect("writes");
    assert!(matches!(Layout::open_or_create(folder.path()), Err(StoreError::NotALayout { .. })));
    assert!(matches!(Layout::open_or_create(&file), Err(StoreError::NotALayout { .. })));
    assert!(matches!(Layout::open(&folder.path().join("missing")), Err(StoreError::NotALayout { .. })));
    for marker in ["{", "{}", r#"{"imageLayoutVersion":"2.0.0"}"#] {
        std::fs::write(folder.path().join("oci-layout"), marker).expect("writes");
        assert!(matches!(Layout::open_or_create(folder.path()), Err(StoreError::NotALayout { .. })), "{marker}");
    }
    std::fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("writes");
    assert!(Layout::open_or_create(folder.path()).is_ok());
}

#[tokio::test]
async fn a_blob_is_from_the_registries_whose_names_lead_to_it() {
    let folder = tempfile::tempdir().expect("folder");
    let layout = Layout::open_or_create(folder.path()).expect("opens");
    let reference = reference();
    let belongs = Belongs { role: Role::Config, source: &reference };
    let lease = layout.lease().await.expect("leases");
    let [config, layer] = [descriptor(b"config"), descriptor(b"cargo")];
    let entry = |blob: &Descriptor, media_type: &str| serde_json::json!({"mediaType": media_type, "digest": blob.digest.to_string(), "size": blob.size});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": entry(&config, "application/vnd.oci.image.config.v1+json"),
        "layers": [entry(&layer, "application/vnd.oci.image.layer.v1.tar")],
    });
    let manifest = Bytes::from(manifest.to_string());
    layout.adopt(&lease, &stage(&layout, b"cargo").await, belongs).await.expect("adopts");
    layout.put(&lease, Verified::seal(manifest.clone()), belongs).await.expect("puts");
    layout.name(&lease, &record(&manifest, None)).await.expect("names");
    let elsewhere: Reference = "quay.io/library/busybox:1".parse().expect("parses");
    for (blob, source, expected) in [
        (&layer, &reference, true),
        (&descriptor(&manifest), &reference, true),
        (&layer, &elsewhere, false),
        // It is named, and not here.
        (&config, &reference, false),
    ] {
        assert_eq!(layout.is_from(source, blob).await.expect("looks"), expected, "{} of {source}", blob.digest);
    }
}
