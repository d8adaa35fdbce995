use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Document, ImageConfig, ManifestError};
use super::*;
use crate::core::limits::Limits;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn descriptor() -> Value {
    json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": DIGEST, "size": 7,
        "platform": {"os": "linux", "architecture": "arm64"},
    })
}

fn index() -> Value {
    json!({"schemaVersion": 2, "manifests": [descriptor()]})
}

fn manifest() -> Value {
    json!({"schemaVersion": 2, "config": descriptor(), "layers": [descriptor()]})
}

fn config() -> Value {
    json!({
        "os": "linux", "architecture": "arm64",
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        "config": {"Entrypoint": ["/app"], "Labels": {"a": "b"}},
    })
}

/// What is said of a document with one more key where `pointer` leads.
fn with_key(document: &Value, pointer: &str, key: &str) -> Option<ManifestError> {
    let mut document = document.clone();
    let object = document.pointer_mut(pointer).and_then(Value::as_object_mut).expect("an object");
    object.insert(key.into(), Value::Null);
    let (text, limits) = (document.to_string(), Limits::default());
    if document.get("rootfs").is_some() {
        ImageConfig::parse(text.as_bytes(), &limits).err()
    } else {
        Document::parse(text.as_bytes(), None, &limits).err()
    }
}

/// Every kind of object, where it is, and one of its fields in another spelling.
fn places() -> Vec<(Value, &'static str, &'static str, &'static str)> {
    vec![
        (index(), "", "Manifests", "manifests"),
        (index(), "", "manifest\u{17f}", "manifests"),
        (index(), "", "CONFIG", "config"),
        (manifest(), "", "mediatype", "mediaType"),
        (manifest(), "", "Layers", "layers"),
        (manifest(), "", "fslayers", "fsLayers"),
        (index(), "/manifests/0", "Digest", "digest"),
        (index(), "/manifests/0", "dige\u{17f}t", "digest"),
        (index(), "/manifests/0", "Platform", "platform"),
        (manifest(), "/config", "SIZE", "size"),
        (manifest(), "/layers/0", "mediatype", "mediaType"),
        (index(), "/manifests/0/platform", "Architecture", "architecture"),
        (index(), "/manifests/0/platform", "o\u{17f}", "os"),
        (index(), "/manifests/0/platform", "OS.Version", "os.version"),
        (config(), "", "Architecture", "architecture"),
        (config(), "", "Rootfs", "rootfs"),
        (config(), "", "Config", "config"),
        (config(), "/rootfs", "Diff_IDs", "diff_ids"),
        (config(), "/config", "entrypoint", "Entrypoint"),
        (config(), "/config", "wor\u{212a}ingdir", "WorkingDir"),
        (config(), "/config", "user", "User"),
    ]
}

#[test]
fn a_field_in_another_spelling_is_refused_wherever_it_is() {
    for (document, pointer, key, field) in places() {
        match with_key(&document, pointer, key) {
            Some(error @ ManifestError::OddKey { known, .. }) => {
                assert_eq!(known, field, "{key} at {pointer:?}");
                assert!(error.is_ambiguous() && error.to_string().is_ascii(), "{error}");
            }
            other => panic!("{key} at {pointer:?}: {other:?}"),
        }
    }
}

#[test]
fn a_field_that_is_there_twice_is_refused_even_where_we_do_not_read_it() {
    let limits = Limits::default();
    let said = |document: &str| Document::parse(document.as_bytes(), None, &limits).err();
    let entry = descriptor();
    let twice = format!(r#"{{"manifests": [], "manifests": [{entry}]}}"#);
    assert_eq!(said(&twice), Some(ManifestError::Repeated("manifests")));
    let escaped = format!(r#"{{"manifests": [], "\u006danifests": [{entry}]}}"#);
    assert_eq!(said(&escaped), Some(ManifestError::Repeated("manifests")));
    let urls =
        format!(r#"{{"manifests": [{{"urls": [], "urls": [], "digest": "{DIGEST}", "size": 1, "mediaType": "x"}}]}}"#);
    assert_eq!(said(&urls), Some(ManifestError::Repeated("urls")));
    let config = ImageConfig::parse(br#"{"config": {"User": "0", "User": "1"}}"#, &limits).err();
    assert_eq!(config, Some(ManifestError::Repeated("User")));
}

#[test]
fn keys_that_are_no_field_to_anybody_are_fine() {
    // What builders really write beside the fields of the specification.
    for key in ["id", "container", "container_config", "docker_version", "parent", "moby.buildkit.buildinfo.v1", "o.s"]
    {
        assert_eq!(with_key(&config(), "", key), None, "{key}");
    }
    for key in ["Hostname", "Domainname", "AttachStdin", "Image", "OnBuild", "Shell", "Healthcheck", "x-user"] {
        assert_eq!(with_key(&config(), "/config", key), None, "{key}");
    }
    assert_eq!(with_key(&index(), "/manifests/0/platform", "features"), None);
    for (pointer, names) in [("", ["Manifests", "DIGEST"]), ("/manifests/0", ["Digest", "platform"])] {
        let mut document = index();
        let annotations: serde_json::Map<String, Value> =
            names.map(|name| (name.into(), json!("x"))).into_iter().collect();
        document
            .pointer_mut(pointer)
            .and_then(Value::as_object_mut)
            .expect("an object")
            .insert("annotations".into(), annotations.into());
        assert!(Document::parse(document.to_string().as_bytes(), None, &Limits::default()).is_ok(), "names are names");
    }
    let mut labelled = config();
    labelled["config"]["Labels"] = json!({"User": "a", "user": "b", "USER": "c"});
    assert!(ImageConfig::parse(labelled.to_string().as_bytes(), &Limits::default()).is_ok());
}

#[test]
fn no_field_is_taken_for_another_of_its_object() {
    for shape in [Shape::Document, Shape::Descriptor, Shape::Platform, Shape::Config, Shape::RootFs, Shape::Run] {
        assert!(shape.fields().len() <= 32, "they are counted in 32 bits");
        for (number, (name, _)) in shape.fields().iter().enumerate() {
            assert_eq!(shape.field(name), Some(number), "{name} of {shape:?}");
            assert!(name.is_ascii());
        }
    }
}

#[test]
fn documents_of_the_largest_size_are_looked_through() {
    let many = json!({"manifests": vec![descriptor(); 1000], "annotations": {"padding": "x".repeat(3 << 20)}});
    check(many.to_string().as_bytes(), Shape::Document).expect("has one meaning");
    let deep = format!("{{\"manifests\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(check(deep.as_bytes(), Shape::Document), Err(Fault::Json(_))));
}

proptest! {
    /// Whatever the spelling: either the field itself, or refused.
    #[test]
    fn no_spelling_of_a_field_gets_by(at in 0_usize..21, upper in any::<u64>(), beyond in any::<bool>()) {
        let (document, pointer, _, field) = places().swap_remove(at);
        let spelled: String = field.char_indices().map(|(at, letter)| match letter.to_ascii_lowercase() {
            's' if beyond && upper & (1 << at) != 0 => '\u{17f}',
            'k' if beyond && upper & (1 << at) != 0 => '\u{212a}',
            _ if upper & (1 << at) != 0 => letter.to_ascii_uppercase(),
            _ => letter.to_ascii_lowercase(),
        }).collect();
        prop_assume!(spelled != field);
        let said = with_key(&document, pointer, &spelled);
        prop_assert!(said.as_ref().is_some_and(ManifestError::is_ambiguous), "{spelled}: {said:?}");
    }
}
