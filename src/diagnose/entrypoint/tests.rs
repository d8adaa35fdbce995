use super::super::testing::Item::{File, Symlink};
use super::super::testing::{gzip, tar};
use super::*;

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

#[test]
fn reads_the_program_of_the_topmost_layer() {
    let layers = [
        gzip(&tar(&[File("bin/app", b"old"), File("bin/busybox", b"busy")])),
        tar(&[File("other", b"x"), File("bin/app", b"newer program"), Symlink("sh", "/bin/busybox")]),
    ];
    let look = |paths: &[&str], limits: &Limits| {
        let paths: Vec<String> = paths.iter().map(|path| (*path).into()).collect();
        find(layers.len(), |index| Ok(layers[index].as_slice()), &paths, limits).expect("readable layers")
    };
    let all = Limits::default();
    let found = look(&["/usr/bin/app", "/bin/app"], &all).expect("it is there");
    assert_eq!((found.path.as_str(), found.layer, found.size), ("/bin/app", 1, 13));
    assert_eq!((found.whole(), found.is_executable()), (Some(b"newer program".as_slice()), true));
    assert_eq!(look(&["/sh"], &all).expect("through the link").prefix, b"busy");
    let cut = look(&["/bin/app"], &Limits { program_bytes: 5, ..all }).expect("it is there");
    assert_eq!((cut.prefix.as_slice(), cut.whole()), (b"newer".as_slice(), None));
    assert_eq!(look(&["/gone", "/bin"], &all), None);
}

#[test]
fn says_which_layer_cannot_be_read() {
    let failing = |index: usize| match index {
        0 => Ok(&b""[..]),
        _ => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
    };
    let error = find(2, failing, &["/app".into()], &Limits::default()).expect_err("the second layer fails");
    assert!(matches!(error, DiagnoseError::Read { layer: 2, .. }), "{error}");
}
