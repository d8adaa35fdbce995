use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn entry(seed: u8, platform: Value) -> Value {
    json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": Digest::of(&[seed]).to_string(),
        "size": 100 + u64::from(seed),
        "platform": platform,
    })
}

fn arm64(seed: u8) -> Value {
    entry(seed, json!({ "architecture": "arm64", "os": "linux", "variant": "v8" }))
}

fn draft(kind: &str, entries: &[Value]) -> Draft {
    let document =
        json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries, "x-ours": { "b": 1, "a": [2] } });
    Draft::parse(&document.to_string().into(), None, &Limits::default()).expect("an index")
}

const OCI: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

fn arm_v6() -> Change {
    Change { architecture: Edit::Set("arm".into()), variant: Edit::Set("v6".into()), ..Change::default() }
}

#[test]
fn a_change_is_to_the_platform_and_to_nothing_else() {
    for kind in [OCI, DOCKER] {
        let mut edited = draft(kind, &[arm64(1), arm64(2)]);
        let before = edited.json().clone();
        edited.change(1, &arm_v6()).expect("a right platform");
        assert_eq!(edited.media_type().as_str(), kind);
        let mut expected = before;
        expected["manifests"][1]["platform"] = json!({ "architecture": "arm", "os": "linux", "variant": "v6" });
        assert_eq!(edited.json(), &expected);
        // The order of the fields too.
        assert_eq!(edited.text(), format!("{expected:#}"));
        assert_ne!(edited.digest(), draft(kind, &[arm64(1), arm64(2)]).digest());
    }
}

#[test]
fn fields_are_set_and_cleared() {
    let mut edited = draft(OCI, &[arm64(1)]);
    let clear = Change { variant: Edit::Clear, ..Change::default() };
    edited.change(0, &clear).expect("it had one");
    assert_eq!(edited.json()["manifests"][0]["platform"], json!({ "architecture": "arm64", "os": "linux" }));
    let all = Change {
        os: Edit::Set("windows".into()),
        os_version: Edit::Set("10.0.17763.1".into()),
        os_features: Edit::Set(vec!["win32k".into()]),
        features: Edit::Set(vec!["sse4".into()]),
        ..Change::default()
    };
    edited.change(0, &all).expect("a right platform");
    let expected = json!({
        "architecture": "arm64", "os": "windows", "os.version": "10.0.17763.1", "os.features": ["win32k"], "features": ["sse4"],
    });
    assert_eq!(edited.json()["manifests"][0]["platform"], expected);
    let nothing = Change {
        os: Edit::Clear,
        architecture: Edit::Clear,
        variant: Edit::Clear,
        os_version: Edit::Clear,
        os_features: Edit::Clear,
        features: Edit::Clear,
    };
    edited.change(0, &nothing).expect("an entry may have no platform");
    assert!(edited.json()["manifests"][0].get("platform").is_none());
    let half = Change { architecture: Edit::Set("arm".into()), ..Change::default() };
    assert!(matches!(edited.change(0, &half), Err(DraftError::Incomplete { .. })));
    edited
        .change(
            0,
            &Change::to(&Platform {
                variant: "v7".into(),
                os: "linux".into(),
                architecture: "arm".into(),
                ..Platform::default()
            }),
        )
        .expect("both");
    assert_eq!(edited.entries()[0].platform.as_ref().expect("one").to_string(), "linux/arm/v7");
}

#[test]
fn wrong_names_are_refused_with_the_right_one_and_change_nothing() {
    let mut edited = draft(OCI, &[arm64(1)]);
    let cases = [
        ("arm", "v6l", Some("linux/arm/v6")),
        ("arm64", "8", Some("linux/arm64/v8")),
        ("amd64", "3", Some("linux/amd64/v3")),
        ("aarch64", "v8", Some("linux/arm64/v8")),
        ("armhf", "v7", Some("linux/arm/v7")),
        ("arm", "v9", None),
        ("vax", "v8", None),
    ];
    for (architecture, variant, right) in cases {
        let change = Change {
            architecture: Edit::Set(architecture.into()),
            variant: Edit::Set(variant.into()),
            ..Change::default()
        };
        match edited.change(0, &change) {
            Err(DraftError::Wrong { right: found, .. }) => {
                assert_eq!(found.map(|found| found.to_string()).as_deref(), right, "{architecture}/{variant}");
            }
            other => panic!("{architecture}/{variant}: {other:?}"),
        }
    }
    assert!(edited.is_unchanged());
}

#[test]
fn what_is_wrong_already_stays_changeable_elsewhere() {
    let odd = entry(1, json!({ "architecture": "arm", "os": "linux", "variant": "v6l" }));
    let mut edited = draft(OCI, &[odd.clone(), arm64(2)]);
    edited.change(1, &arm_v6()).expect("the other one");
    assert_eq!(edited.json()["manifests"][0], odd);
    edited.change(0, &Change { variant: Edit::Set("v6".into()), ..Change::default() }).expect("and now this one");
}

#[test]
fn a_child_may_be_listed_for_several_platforms_but_not_twice_for_one() {
    let mut edited = draft(OCI, &[arm64(1), arm64(2)]);
    edited.change(0, &arm_v6()).expect("a right platform");
    let v7 = Platform { os: "linux".into(), architecture: "arm".into(), variant: "v7".into(), ..Platform::default() };
    edited.repeat(0, &v7).expect("another platform");
    let listed: Vec<String> = edited.entries().iter().map(|e| e.platform.as_ref().expect("one").to_string()).collect();
    assert_eq!(listed, ["linux/arm/v6", "linux/arm/v7", "linux/arm64/v8"]);
    assert_eq!(edited.entries()[0].digest, edited.entries()[1].digest);
    assert_eq!(edited.repeat(0, &v7), Err(DraftError::Listed { at: 1 }));
    assert_eq!(edited.change(0, &Change::to(&v7)), Err(DraftError::Listed { at: 1 }));
    assert_eq!(edited.change(9, &arm_v6()), Err(DraftError::NoEntry { at: 9 }));
    assert_eq!(edited.add(arm64(2)), Err(DraftError::Listed { at: 2 }));
    edited.add(arm64(3)).expect("another child");
}

#[test]
fn only_an_index_can_be_edited() {
    let image = json!({ "schemaVersion": 2, "config": arm64(1), "layers": [] });
    let parsed = Draft::parse(&image.to_string().into(), None, &Limits::default());
    assert_eq!(parsed, Err(DraftError::NotAnIndex));
    assert!(matches!(Draft::parse(&"[]".into(), None, &Limits::default()), Err(DraftError::Document(_))));
    let empty = Draft::empty(MediaType::DockerManifestList);
    let again = Draft::parse(empty.sealed().content(), None, &Limits::default()).expect("an index");
    assert_eq!(again.media_type(), &MediaType::DockerManifestList);
}

/// JSON objects of unknown fields.
fn extra() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![any::<i64>().prop_map(Value::from), "\\PC{0,12}".prop_map(Value::from), Just(Value::Null)];
    let field = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    });
    // No field that is known begins like this, in whichever case it is read: `OS` would be `os` (`manifest::keys`).
    proptest::collection::vec(("X[A-Z]{1,7}", field), 0..5)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

proptest! {
    #[test]
    fn unknown_fields_survive(root in extra(), of_entry in extra(), of_platform in extra()) {
        let mut child = arm64(1);
        child["platform"].as_object_mut().expect("an object").extend(of_platform.as_object().expect("one").clone());
        child.as_object_mut().expect("an object").extend(of_entry.as_object().expect("one").clone());
        let mut document = json!({ "schemaVersion": 2, "manifests": [child, arm64(2)] });
        document.as_object_mut().expect("an object").extend(root.as_object().expect("one").clone());
        let mut edited = Draft::parse(&document.to_string().into(), None, &Limits::default()).expect("an index");
        edited.change(0, &arm_v6()).expect("a right platform");
        document["manifests"][0]["platform"]["architecture"] = "arm".into();
        document["manifests"][0]["platform"]["variant"] = "v6".into();
        prop_assert_eq!(edited.text(), format!("{document:#}"));
        let bytes = edited.sealed();
        let again = Draft::parse(bytes.content(), None, &Limits::default()).expect("still an index");
        prop_assert_eq!(again.digest(), edited.digest());
    }

    #[test]
    fn what_is_not_changed_keeps_its_bytes(root in extra(), indent in 0_usize..3) {
        let mut document = json!({ "schemaVersion": 2, "manifests": [arm64(1)] });
        document.as_object_mut().expect("an object").extend(root.as_object().expect("one").clone());
        let text = if indent == 0 { document.to_string() } else { format!("{document:#}").replace("  ", &" ".repeat(indent)) };
        let bytes: Bytes = text.into();
        let mut kept = Draft::parse(&bytes, None, &Limits::default()).expect("an index");
        prop_assert_eq!(kept.digest(), Digest::of(&bytes));
        let same = Change { architecture: Edit::Set("arm64".into()), features: Edit::Clear, ..Change::default() };
        kept.change(0, &same).expect("nothing to do");
        let sealed = kept.sealed();
        prop_assert_eq!(sealed.content(), &bytes);
    }

    #[test]
    fn nothing_that_a_stranger_sends_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), platform in extra()) {
        let _ = Draft::parse(&bytes.into(), None, &Limits::default());
        let odd = json!({ "schemaVersion": 2, "manifests": [entry(1, platform)] });
        if let Ok(mut draft) = Draft::parse(&odd.to_string().into(), None, &Limits::default()) {
            let _ = draft.change(0, &arm_v6());
            prop_assert_eq!(draft.entries().len(), 1);
        }
    }
}
