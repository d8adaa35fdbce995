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
    start.first.steps.iter().map(|step| step.file.path.as_str()).collect()
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
    assert!(start.first.stopped.is_none());
    assert!(matches!(start.first.steps[2].what, What::Damaged(_)));
}

#[test]
fn what_is_not_executable_is_passed_over_along_path() {
    let mut rootfs = files(&[("/a/app", 0o644, b"data"), ("/b/app", 0o755, b"text")]);
    let json = r#"{"Cmd":["app"],"Env":["PATH=/a:/b"]}"#;
    assert_eq!(paths(&examine(&mut rootfs, &config(json)).expect("readable")), ["/b/app"]);
    let mut only = files(&[("/a/app", 0o644, b"data")]);
    let start = examine(&mut only, &config(json)).expect("readable");
    assert_eq!(paths(&start), ["/a/app"]);
    assert!(!start.first.steps[0].file.is_executable());
}

#[test]
fn says_where_it_stopped() {
    let stopped = |all: &[(&'static str, u32, &[u8])], json| {
        examine(&mut files(all), &config(json)).expect("readable").first.stopped
    };
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

/// How each program was got to, whether it is certain, and the files that the kernel opens for it.
fn next(all: &[(&'static str, u32, &[u8])], json: &str) -> Vec<(String, bool, Vec<String>)> {
    let start = examine(&mut files(all), &config(json)).expect("readable");
    let next = start.next.into_iter().map(|next| {
        let files = next.chain.steps.into_iter().map(|step| step.file.path);
        (next.way, next.certain, files.collect())
    });
    next.collect()
}

#[test]
fn programs_that_are_started_by_others_are_followed() {
    let elf = crate::core::elf::sample::Sample::of("arm64").bytes();
    let elf = elf.as_slice();
    let script: &[u8] = b"#!/usr/bin/env bash\nif [ \"$(id -u)\" = 0 ]; then\n  prepare\nfi\nexec \"$@\"\n";
    let image = [
        ("/usr/local/bin/entry.sh", 0o755, script),
        ("/usr/bin/env", 0o755, elf),
        ("/bin/bash", 0o755, elf),
        ("/bin/sh", 0o755, elf),
        ("/usr/bin/tini", 0o755, elf),
        ("/usr/bin/gosu", 0o755, elf),
        ("/usr/bin/serve", 0o755, b"#!/bin/sh\nexec gosu nobody \"$@\"\n".as_slice()),
        ("/srv/run", 0o755, elf),
    ];
    let one = |way: &str, certain, file: &str| (way.to_owned(), certain, vec![file.to_owned()]);
    assert_eq!(
        next(&image, r#"{"Entrypoint":["entry.sh"],"Cmd":["/srv/run","-v"]}"#),
        [
            one("entry.sh -> bash", true, "/bin/bash"),
            one("entry.sh -> bash -> exec \"$@\" -> /srv/run", true, "/srv/run"),
        ]
    );
    assert_eq!(
        next(&image, r#"{"Entrypoint":["tini","--","serve"],"Cmd":["/srv/run"]}"#),
        [
            ("tini -> serve".to_owned(), true, vec!["/usr/bin/serve".to_owned(), "/bin/sh".to_owned()]),
            one("tini -> serve -> exec gosu nobody \"$@\" -> gosu", true, "/usr/bin/gosu"),
            one("tini -> serve -> exec gosu nobody \"$@\" -> gosu -> /srv/run", true, "/srv/run"),
        ]
    );
    let shell = |command: &str| next(&image, &format!(r#"{{"Cmd":["/bin/sh","-c","{command}"]}}"#));
    assert_eq!(shell("/srv/run -v"), [one("/bin/sh -> /srv/run", false, "/srv/run")]);
    assert_eq!(
        shell("exec tini /srv/run"),
        [one("/bin/sh -> tini", true, "/usr/bin/tini"), one("/bin/sh -> tini -> /srv/run", true, "/srv/run"),]
    );
    // What may be started starts nothing for certain.
    assert_eq!(shell("tini /srv/run")[1], one("/bin/sh -> tini -> /srv/run", false, "/srv/run"));
    assert_eq!(shell("cd /srv && ./run"), []);
    assert_eq!(next(&image, r#"{"Entrypoint":["entry.sh"]}"#), [one("entry.sh -> bash", true, "/bin/bash")]);
}

#[test]
fn programs_that_start_each_other_for_ever_are_not_followed_for_ever() {
    let env = crate::core::elf::sample::Sample::of("arm64").bytes();
    let image = [("/usr/bin/env", 0o755, env.as_slice())];
    let words = ["env"; 40].map(|word| format!("{word:?}")).join(",");
    assert_eq!(next(&image, &format!(r#"{{"Cmd":[{words}]}}"#)).len(), HANDED_ON);
    let script = [("/s", 0o755, b"#!/s\nexec \"$@\"\n".as_slice())];
    assert_eq!(next(&script, r#"{"Entrypoint":["/s"],"Cmd":["/s"]}"#), []);
}

#[test]
fn the_distribution_is_read_from_os_release() {
    let release = b"ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\nPRETTY_NAME='Alma'\n";
    let found =
        distribution_of(&mut files(&[("/usr/lib/os-release", 0o644, release)])).expect("readable").expect("there");
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
