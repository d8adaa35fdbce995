use super::*;
use proptest::prelude::*;
use serde_json::json;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn descriptor() -> serde_json::Value {
    json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": DIGEST, "size": 7})
}

fn parse(document: &serde_json::Value, announced: Option<MediaType>) -> Result<Document, ManifestError> {
    Document::parse(document.to_string().as_bytes(), announced.as_ref(), &Limits::default())
}

#[test]
fn reads_both_kinds_in_both_dialects() {
    let index = json!({"schemaVersion": 2, "manifests": [descriptor()]});
    let manifest = json!({"schemaVersion": 2, "config": descriptor(), "layers": [descriptor(), descriptor()], "annotations": null});
    for announced in [None, Some(MediaType::OciIndex), Some(MediaType::DockerManifestList)] {
        assert!(matches!(parse(&index, announced), Ok(Document::Index(index)) if index.manifests.len() == 1));
    }
    for announced in [None, Some(MediaType::OciManifest), Some(MediaType::DockerManifest)] {
        assert!(matches!(parse(&manifest, announced), Ok(Document::Manifest(manifest)) if manifest.layers.len() == 2));
    }
    // A generic Content-Type says nothing; the document speaks for itself.
    assert!(parse(&manifest, Some(MediaType::Other("application/json".into()))).is_ok());
}

#[test]
fn refuses_doubtful_documents() {
    let both = json!({"manifests": [], "layers": []});
    let both_config = json!({"manifests": [], "config": descriptor()});
    assert!(matches!(parse(&both, None), Err(ManifestError::Ambiguous("layers"))));
    assert!(matches!(parse(&both_config, None), Err(ManifestError::Ambiguous("config"))));
    let contradiction =
        json!({"mediaType": "application/vnd.oci.image.index.v1+json", "config": descriptor(), "layers": []});
    assert!(matches!(parse(&contradiction, Some(MediaType::OciManifest)), Err(ManifestError::WrongMediaType { .. })));
    assert!(matches!(parse(&contradiction, None), Err(ManifestError::Malformed { .. })));
    assert!(matches!(parse(&json!({}), None), Err(ManifestError::UnknownType(_))));
    assert!(matches!(parse(&json!({}), Some(MediaType::OciIndex)), Err(ManifestError::Malformed { .. })));
    assert!(matches!(parse(&json!([]), None), Err(ManifestError::Malformed { .. })));
    let negative = json!({"manifests": [{"mediaType": "x", "digest": DIGEST, "size": -1}]});
    assert!(matches!(parse(&negative, None), Err(ManifestError::Malformed { .. })));
    let traversal = json!({"manifests": [{"mediaType": "x", "digest": "sha256:../../etc/passwd", "size": 1}]});
    assert!(matches!(parse(&traversal, None), Err(ManifestError::Malformed { .. })));
    let twice = format!(r#"{{"manifests": [], "manifests": [{}]}}"#, descriptor());
    assert!(Document::parse(twice.as_bytes(), None, &Limits::default()).is_err(), "a field that occurs twice");
}

#[test]
fn names_schema_1() {
    let signed = json!({"schemaVersion": 1, "name": "library/busybox", "fsLayers": [], "history": []});
    for announced in [None, Some(MediaType::DockerSchema1), Some(MediaType::Other("application/json".into()))] {
        assert!(matches!(parse(&signed, announced), Err(ManifestError::Schema1)));
    }
}

#[test]
fn keeps_to_its_limits() {
    let limits = Limits { document_bytes: 100, index_entries: 1, layers: 1, ..Limits::default() };
    assert!(matches!(
        Document::parse(&[b' '; 101], None, &limits),
        Err(ManifestError::TooLarge { size: 101, limit: 100 })
    ));
    let limits = Limits { document_bytes: 10_000, ..limits };
    let index = json!({"manifests": [descriptor(), descriptor()]}).to_string();
    assert!(matches!(Document::parse(index.as_bytes(), None, &limits), Err(ManifestError::TooMany { count: 2, .. })));
    let manifest = json!({"config": descriptor(), "layers": [descriptor(), descriptor()]}).to_string();
    assert!(matches!(
        Document::parse(manifest.as_bytes(), None, &limits),
        Err(ManifestError::TooMany { count: 2, .. })
    ));
}

#[test]
fn a_config_that_is_too_large_is_refused_before_it_is_fetched() {
    let mut config = descriptor();
    config["size"] = json!(5 << 20);
    let manifest = json!({"config": config, "layers": []});
    assert!(matches!(parse(&manifest, None), Err(ManifestError::TooLarge { .. })));
}

#[test]
fn reads_configs() {
    let config = json!({
        "architecture": "arm", "variant": "v7", "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {"Entrypoint": ["/app"], "Cmd": ["--help"], "Env": null},
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    });
    let config = ImageConfig::parse(config.to_string().as_bytes(), &Limits::default()).expect("reads");
    assert_eq!(config.platform.to_string(), "linux/arm/v7");
    assert_eq!(config.argv(), ["/app", "--help"]);
    assert_eq!(config.rootfs.diff_ids.len(), 1);
    assert!(ImageConfig::parse(b"{", &Limits::default()).is_err());
    assert!(ImageConfig::parse(b"{}", &Limits::default()).is_ok(), "an artifact's empty config");
}

#[test]
fn chain_ids_follow_the_specification() {
    let a = Digest::of(b"a");
    let b = Digest::of(b"b");
    let chain = chain_ids(&[a.clone(), b.clone()]);
    assert_eq!(chain, [a.clone(), Digest::of(format!("{a} {b}").as_bytes())]);
    assert!(chain_ids(&[]).is_empty());
}

#[test]
fn what_is_said_in_one_word_steers_no_terminal() {
    let long = "x".repeat(256);
    for word in ["a\u{1b}]0;owned\u{7}", "a\nINFO forged", "a\u{9b}2J", "a\u{202e}b", &long] {
        let mut documents = vec![json!({"mediaType": word, "manifests": []})];
        for pointer in ["mediaType", "os", "architecture", "variant", "os.version", "os.features"] {
            let mut entry = descriptor();
            match pointer {
                "mediaType" => entry["mediaType"] = json!(word),
                "os.features" => entry["platform"] = json!({"os.features": ["win32k", word]}),
                field => entry["platform"] = json!({(field): word}),
            }
            documents.push(json!({"manifests": [entry]}));
        }
        for document in documents {
            let error = parse(&document, None).expect_err("is refused");
            assert!(matches!(error, ManifestError::Malformed { .. }), "{error}");
            let text = error.to_string();
            assert!(!text.contains(crate::core::text::steers) && text.len() < 500, "{text:?}");
        }
        let config = json!({"architecture": word}).to_string();
        ImageConfig::parse(config.as_bytes(), &Limits::default()).expect_err("is refused");
        // A registry's header is shown, and equal to no type.
        let shown = MediaType::parse(&format!("application/vnd.oci.image.index.v1+json{word}"));
        assert!(!shown.is_index() && !shown.as_str().contains(crate::core::text::steers), "{shown}");
    }
    let digest = json!({"manifests": [{"mediaType": "x", "digest": "sha256:\u{1b}[2J", "size": 1}]});
    let text = parse(&digest, None).expect_err("is refused").to_string();
    assert!(!text.contains(crate::core::text::steers), "{text:?}");
    let size = json!({"manifests": [{"mediaType": "x", "digest": DIGEST, "size": "\u{1b}".repeat(1 << 20)}]});
    let text = parse(&size, None).expect_err("is refused").to_string();
    assert!(!text.contains(crate::core::text::steers) && text.len() < 500, "{} bytes", text.len());
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Document::parse(&bytes, None, &Limits::default());
        let _ = ImageConfig::parse(&bytes, &Limits::default());
    }
}
