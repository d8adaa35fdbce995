use super::*;
use crate::core::limits::Limits;

fn config(json: &str) -> ImageConfig {
    let document = format!(r#"{{"os":"linux","architecture":"arm64","config":{json}}}"#);
    ImageConfig::parse(document.as_bytes(), &Limits::default()).expect("a config")
}

#[test]
fn looks_where_a_runtime_looks() {
    for (json, expected) in [
        (r#"{"Entrypoint":["/app"],"Cmd":["x"]}"#, vec!["/app"]),
        (r#"{"Cmd":["./bin/app"],"WorkingDir":"/srv"}"#, vec!["/srv/./bin/app"]),
        (r#"{"Cmd":["app"],"Env":["PATH=/a","PATH=/b::c"],"WorkingDir":"/w"}"#, vec!["/b/app", "/w/app", "/w/c/app"]),
        ("{}", vec![]),
        (r#"{"Entrypoint":[""]}"#, vec![]),
    ] {
        assert_eq!(candidates(&config(json)), expected, "{json}");
    }
    let default = candidates(&config(r#"{"Cmd":["sh"]}"#));
    assert_eq!((default.len(), default[1].as_str()), (6, "/usr/local/bin/sh"));
}
