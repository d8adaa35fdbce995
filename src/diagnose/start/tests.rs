use std::collections::BTreeMap;

use super::*;
use crate::core::digest::Digest;
use crate::core::limits::Limits;
use crate::diagnose::rootfs::Cost;

/// Files by path; a path that starts with `?` was not read.
struct Files(BTreeMap<&'static str, (u32, Vec<u8>)>);

impl RootFs for Files {
    fn look(&mut self, paths: &[String]) -> Result<Look, DiagnoseError> {
        for path in paths {
            if let Some((mode, content)) = self.0.get(path.as_str()) {
                return Ok(Look::File(File {
                    asked: path.clone(),
                    path: path.clone(),
                    layer: Digest::of(b"layer"),
                    mode: *mode,
                    content: Extract::whole(content.clone()),
                    verified: true,
                    certain: true,
                }));
            }
        }
        Ok(Look::Absent)
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }
}

fn files(all: &[(&'static str, u32, &[u8])]) -> Files {
    Files(all.iter().map(|(path, mode, content)| (*path, (*mode, content.to_vec()))).collect())
}

fn config(json: &str) -> ImageConfig {
    let document = format!(r#"{{"os":"linux","architecture":"arm64","config":{json}}}"#);
    ImageConfig::parse(document.as_bytes(), &Limits::default()).expect("a config")
}

fn paths(start: &Start) -> Vec<&str> {
    start.steps.iter().map(|step| step.file.path.as_str()).collect()
}

#[test]
fn scripts_lead_to_their_interpreters() {
    let mut rootfs = files(&[
        ("/entry", 0o755, b"#!/bin/run -x\n"),
        ("/bin/run", 0o755, b"#! /bin/sh\n"),
        ("/bin/sh", 0o755, b"\x7fELF"),
    ]);
    let start = examine(&mut rootfs, &config(r#"{"Entrypoint":["/entry"]}"#)).expect("readable");
    assert_eq!(paths(&start), ["/entry", "/bin/run", "/bin/sh"]);
    assert!(start.stopped.is_none());
    assert!(matches!(start.steps[2].what, What::Damaged(_)));
}

#[test]
fn what_is_not_executable_is_passed_over_along_path() {
    let mut rootfs = files(&[("/a/app", 0o644, b"data"), ("/b/app", 0o755, b"text")]);
    let json = r#"{"Cmd":["app"],"Env":["PATH=/a:/b"]}"#;
    assert_eq!(paths(&examine(&mut rootfs, &config(json)).expect("readable")), ["/b/app"]);
    let mut only = files(&[("/a/app", 0o644, b"data")]);
    let start = examine(&mut only, &config(json)).expect("readable");
    assert_eq!(paths(&start), ["/a/app"]);
    assert!(!start.steps[0].file.is_executable());
}

#[test]
fn says_where_it_stopped() {
    let stopped =
        |all: &[(&'static str, u32, &[u8])], json| examine(&mut files(all), &config(json)).expect("readable").stopped;
    assert_eq!(stopped(&[], "{}"), Some(Stopped::NoProgram));
    let absent = Some(Stopped::Absent { asked: vec!["/x".into()] });
    assert_eq!(stopped(&[], r#"{"Cmd":["/x"]}"#), absent);
    assert_eq!(stopped(&[("/s", 0o755, b"#!/x\n")], r#"{"Cmd":["/s"]}"#), absent);
    assert_eq!(stopped(&[("/s", 0o755, b"#!/s\n")], r#"{"Cmd":["/s"]}"#), Some(Stopped::TooDeep));
}

#[test]
fn reads_the_first_line_as_the_kernel_does() {
    let script = |text: &[u8]| match script(text, true) {
        What::Script { interpreter, argument, cut } => (interpreter, argument, cut),
        other => panic!("{other:?}"),
    };
    assert_eq!(script(b"#!/bin/sh\nrest"), ("/bin/sh".into(), None, false));
    assert_eq!(script(b"#!  /usr/bin/env  python3 -u \n"), ("/usr/bin/env".into(), Some("python3 -u".into()), false));
    assert_eq!(script(b"#!/bin/sh\r\n"), ("/bin/sh\r".into(), None, false));
    assert_eq!(script(b"#!/bin/sh"), ("/bin/sh".into(), None, false));
    assert_eq!(script(b"#!\n"), (String::new(), None, false));
    let long = [b"#!/", "x".repeat(400).as_bytes()].concat();
    assert!(script(&long).2);
}

#[test]
fn what_the_shell_starts_is_looked_at_as_well() {
    let mut rootfs = files(&[("/bin/sh", 0o755, b"\x7fELF"), ("/srv/run", 0o755, b"text")]);
    let start = examine(&mut rootfs, &config(r#"{"Cmd":["/bin/sh","-c","./run -v"],"WorkingDir":"/srv"}"#));
    let shell = start.expect("readable").shell.expect("a plain word");
    assert_eq!(shell.word, "./run");
    // The path is as it was asked for; real ones are canonical.
    assert!(shell.found.is_none() && shell.absent);
}

#[test]
fn the_distribution_is_read_from_os_release() {
    let release = b"ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\nPRETTY_NAME='Alma'\n";
    let found = distribution(&mut files(&[("/usr/lib/os-release", 0o644, release)])).expect("readable").expect("there");
    assert_eq!((found.id.as_str(), found.version.as_str(), found.name.as_str()), ("almalinux", "9.4", "Alma"));
    assert_eq!(found.like, ["rhel", "centos", "fedora"]);
}

#[test]
fn the_header_alone_tells_the_architecture() {
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[0x12] = 183;
    header[0x20] = 64;
    header[0x36] = 56;
    header[0x38] = 6;
    let What::Elf(binary) = classify(&Extract::new(1 << 20, header)) else { panic!("it is one") };
    assert_eq!(binary.architecture(), Some("arm64"));
}
