use super::*;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::extract::Extract;
use crate::core::limits::Limits;
use crate::core::manifest::{ImageConfig, Manifest};
use crate::diagnose::DiagnoseError;
use crate::diagnose::contents::Other;
use crate::diagnose::rootfs::{Cost, File, Look, RootFs};
use crate::diagnose::start::examine;

/// A 64-bit little-endian header of a machine, and the loader that it asks for.
fn elf(machine: u16, loader: &str) -> Vec<u8> {
    let mut file = vec![0; 64 + 56];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x10, &2u16.to_le_bytes());
    put(0x12, &machine.to_le_bytes());
    put(0x20, &64u64.to_le_bytes());
    put(0x36, &56u16.to_le_bytes());
    if loader.is_empty() {
        return file;
    }
    put(0x38, &1u16.to_le_bytes());
    put(64, &3u32.to_le_bytes());
    put(64 + 8, &120u64.to_le_bytes());
    put(64 + 32, &(loader.len() as u64 + 1).to_le_bytes());
    file.extend_from_slice(loader.as_bytes());
    file.push(0);
    file
}

fn file(path: &str, mode: u32, content: &[u8]) -> File {
    File {
        asked: path.to_owned(),
        path: path.to_owned(),
        layer: Digest::of(b"layer"),
        mode,
        content: Extract::whole(content.to_vec()),
        verified: true,
        certain: true,
    }
}

struct Files<'a>(&'a [(&'a str, u32, Vec<u8>)]);

impl RootFs for Files<'_> {
    fn look(&mut self, paths: &[String]) -> Result<Look, DiagnoseError> {
        let found = paths.iter().find_map(|path| Some((path, self.0.iter().find(|(name, ..)| name == path)?)));
        Ok(found.map_or(Look::Absent, |(path, (_, mode, content))| Look::File(file(path, *mode, content))))
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }
}

fn findings(run: &str, files: &[(&str, u32, Vec<u8>)]) -> Vec<Finding> {
    check(&contents(run, files))
}

fn contents(run: &str, files: &[(&str, u32, Vec<u8>)]) -> Contents {
    let document = format!(r#"{{"os":"linux","architecture":"amd64","config":{run}}}"#);
    let config = ImageConfig::parse(document.as_bytes(), &Limits::default()).expect("a config");
    let descriptor = Descriptor::new(MediaType::Other("x".into()), Digest::of(b"x"), 1);
    let manifest = Manifest { config: descriptor.clone(), layers: Vec::new(), annotations: Default::default() };
    let start = Some(examine(&mut Files(files), &config).expect("readable"));
    Contents { path: vec![1, 0], descriptor, manifest, config, start }
}

fn one(run: &str, files: &[(&str, u32, Vec<u8>)]) -> (Id, Severity, String) {
    let found = findings(run, files);
    let [finding] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!(finding.entry.as_deref(), Some("1.0"));
    assert!(!finding.evidence.is_empty());
    (finding.id, finding.severity, finding.message.clone())
}

#[test]
fn what_loads_gives_no_finding() {
    let loader = "/lib64/ld-linux-x86-64.so.2";
    let files = [
        ("/app", 0o755, elf(62, loader)),
        (loader, 0o755, elf(62, "")),
        ("/run.sh", 0o755, b"#!/bin/sh\nexec /app\n".to_vec()),
        ("/bin/sh", 0o755, elf(62, "")),
    ];
    for run in [r#"{"Entrypoint":["/app"]}"#, r#"{"Cmd":["/run.sh"]}"#, r#"{"Cmd":["/bin/sh","-c","exec /app"]}"#] {
        assert_eq!(findings(run, &files), [], "{run}");
    }
}

#[test]
fn what_does_not_load_gives_one() {
    let app = r#"{"Entrypoint":["/app"]}"#;
    let cases: [(Id, Vec<u8>, u32); 7] = [
        (Id::NotExecutable, elf(62, ""), 0o644),
        (Id::NotExecutable, Vec::new(), 0o755),
        (Id::NotExecutable, b"\x7fELF".to_vec(), 0o755),
        (Id::NotExecutable, vec![0xff, 0xfe, 0, 1], 0o755),
        (Id::Script, b"echo hello\n".to_vec(), 0o755),
        (Id::Script, b"#!/bin/sh\r\n".to_vec(), 0o755),
        (Id::Script, b"#!/bin/bash\n".to_vec(), 0o755),
    ];
    for (id, content, mode) in cases {
        let (found, severity, message) = one(app, &[("/app", mode, content)]);
        assert_eq!((found, severity), (id, Severity::Error), "{message}");
    }
    assert_eq!(one(app, &[]).0, Id::EntryNotFound);
    let (_, _, message) = one(r#"{"Entrypoint":["/app --serve"]}"#, &[("/app", 0o755, elf(62, ""))]);
    assert!(message.contains("as one word"), "{message}");
    assert_eq!(one("{}", &[]).1, Severity::Note);
}

#[test]
fn loaders_are_looked_for_and_compared() {
    let app = r#"{"Entrypoint":["/app"]}"#;
    let (glibc, musl) = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1");
    let (id, _, message) = one(app, &[("/app", 0o755, elf(62, glibc)), (musl, 0o755, elf(62, ""))]);
    assert!(id == Id::LoaderMissing && message.contains("built against glibc"), "{message}");
    let (id, _, message) = one(app, &[("/app", 0o755, elf(62, musl)), (glibc, 0o755, elf(62, ""))]);
    assert!(id == Id::LoaderMissing && message.contains("built against musl"), "{message}");
    assert_eq!(one(app, &[("/app", 0o755, elf(183, glibc)), (glibc, 0o755, elf(62, ""))]).0, Id::LoaderArch);
}

#[test]
fn loaders_of_another_architecture_are_named() {
    let app = r#"{"Entrypoint":["/app"]}"#;
    let glibc = "/lib64/ld-linux-x86-64.so.2";
    for (path, machine) in [
        ("/lib/ld64.so.1", 22),
        ("/lib/ld-linux-riscv64-lp64d.so.1", 243),
        ("/lib64/ld.so.1", 8),
        ("/lib/ld-musl-aarch64.so.1", 183),
    ] {
        let mut other = elf(machine, "");
        if machine == 22 {
            other[5] = 2;
        }
        let (id, _, message) = one(app, &[("/app", 0o755, elf(62, glibc)), (path, 0o755, other)]);
        assert!(id == Id::LoaderMissing && message.contains(&format!("the image has {path}")), "{message}");
        assert!(!message.contains("built against"), "{message}");
    }
    let mut i386 = crate::core::elf::sample::Sample::of("386").interpreter("/lib/ld-linux.so.2").bytes();
    i386.resize(4096, 0);
    let found = findings(app, &[("/app", 0o755, i386), (glibc, 0o755, elf(62, ""))]);
    assert_eq!(
        found[0].remedies[0].commands,
        ["RUN dpkg --add-architecture i386 && apt-get update && apt-get install -y libc6:i386"]
    );
    let found = findings(app, &[("/app", 0o755, elf(62, "/lib/ld-musl-x86_64.so.1"))]);
    assert!(found[0].remedies[0].text.ends_with("as alpine"), "{found:?}");
}

/// Identifier and severity of each finding.
fn told(run: &str, files: &[(&str, u32, Vec<u8>)]) -> Vec<(Id, Severity)> {
    findings(run, files).into_iter().map(|finding| (finding.id, finding.severity)).collect()
}

#[test]
fn what_may_be_started_is_a_warning_at_most() {
    use Severity::Warning;
    let shell = || ("/bin/sh", 0o755, elf(62, ""));
    let run = r#"{"Cmd":["/bin/sh","-c","/app"]}"#;
    assert_eq!(told(run, &[shell()]), [(Id::EntryNotFound, Warning)]);
    let dynamic = ("/app", 0o755, elf(62, "/lib64/ld-linux-x86-64.so.2"));
    assert_eq!(told(run, &[shell(), dynamic]), [(Id::LoaderMissing, Warning)]);
    // A shell runs text without "#!" itself.
    for text in ["echo hello\n", ""] {
        assert_eq!(told(run, &[shell(), ("/app", 0o755, text.into())]), [], "{text:?}");
    }
    assert_eq!(told(run, &[shell(), ("/app", 0o644, b"echo hello\n".to_vec())]), [(Id::NotExecutable, Warning)]);
}

#[test]
fn what_is_started_for_certain_counts_as_the_program() {
    use Severity::Error;
    let files = |app: Vec<u8>, mode| [("/sbin/tini", 0o755, elf(62, "")), ("/app", mode, app)];
    let run = r#"{"Entrypoint":["tini","--"],"Cmd":["/app"]}"#;
    for (app, mode, expected) in [
        (elf(62, ""), 0o755, [].as_slice()),
        (elf(62, ""), 0o644, &[(Id::NotExecutable, Error)]),
        (elf(62, "/lib64/ld-linux-x86-64.so.2"), 0o755, &[(Id::LoaderMissing, Error)]),
        (b"#!/bin/none\n".to_vec(), 0o755, &[(Id::Script, Error)]),
        // The kernel refuses it, whatever the init does then.
        (b"echo hello\n".to_vec(), 0o755, &[(Id::Script, Error)]),
    ] {
        assert_eq!(told(run, &files(app, mode)), expected);
    }
    let missing = &findings(run, &files(elf(62, ""), 0o755)[..1])[0];
    assert_eq!((missing.id, missing.severity), (Id::EntryNotFound, Error));
    assert_eq!(missing.message, "the image starts \"/app\", which is not in it (started by way of tini -> /app)");
}

#[test]
fn entrypoint_scripts_lead_to_their_command() {
    use Severity::{Error, Warning};
    let run = r#"{"Entrypoint":["/entry.sh"],"Cmd":["app"]}"#;
    let told = |script: &str, app: Option<(u32, Vec<u8>)>| {
        let mut files = vec![("/entry.sh", 0o755, script.as_bytes().to_vec()), ("/bin/sh", 0o755, elf(62, ""))];
        files.extend(app.map(|(mode, app)| ("/usr/bin/app", mode, app)));
        told(run, &files)
    };
    let dynamic = || Some((0o755, elf(62, "/lib64/ld-linux-x86-64.so.2")));
    let plain = "#!/bin/sh\nexec \"$@\"\n";
    let knows_names = "#!/bin/sh\nif [ \"$1\" = app ]; then\n  set -- /srv/app\nfi\nexec \"$@\"\n";
    let may = "#!/bin/sh\nif [ -f /x ]; then\n  exec \"$@\"\nfi\nsleep 1\n";
    assert_eq!(told(plain, Some((0o755, elf(62, "")))), []);
    assert_eq!(told(plain, dynamic()), [(Id::LoaderMissing, Error)]);
    assert_eq!(told(plain, None), [(Id::EntryNotFound, Error)]);
    assert_eq!(told(plain, Some((0o755, b"echo\n".to_vec()))), []);
    assert_eq!(told(knows_names, dynamic()), [(Id::LoaderMissing, Error)]);
    // The word may be a name of the script's own.
    assert_eq!(told(knows_names, None), []);
    assert_eq!(told(knows_names, Some((0o644, elf(62, "")))), []);
    assert_eq!(told(may, dynamic()), [(Id::LoaderMissing, Warning)]);
    assert_eq!(told(may, None), [(Id::EntryNotFound, Warning)]);
}

#[test]
fn a_working_directory_has_to_be_one() {
    let files = [("/app", 0o755, elf(62, "")), ("/data", 0o644, b"text".to_vec())];
    let run = |directory: &str| format!(r#"{{"Entrypoint":["/app"],"WorkingDir":"{directory}"}}"#);
    let (id, severity, message) = one(&run("/data"), &files);
    assert_eq!((id, severity), (Id::NotExecutable, Severity::Error), "{message}");
    assert_eq!(findings(&run("/made/by/the/runtime"), &files), []);
}

#[test]
fn binaries_of_other_architectures_are_one_finding() {
    let mut contents = contents(r#"{"Entrypoint":["/app"]}"#, &[("/app", 0o755, elf(62, ""))]);
    let other = |path: &str, in_the_way| {
        let file = file(path, 0o755, &elf(183, ""));
        let What::Elf(binary) = crate::diagnose::start::classify(&file.content) else { panic!("a binary") };
        Other { file, binary, in_the_way }
    };
    let start = contents.start.as_mut().expect("looked into");
    start.others = (0..7).map(|at| other(&format!("/usr/bin/{at}"), true)).collect();
    start.others.push(other("/srv/node_modules/x/prebuilds/linux-arm64/x.node", false));
    let found = check(&contents);
    let [finding, note] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((finding.id, finding.severity), (Id::OtherBinaryArch, Severity::Warning));
    assert!(finding.message.contains("/usr/bin/4 and 2 more are not for"), "{}", finding.message);
    assert_eq!((note.id, note.severity), (Id::OtherBinaryArch, Severity::Note));
    assert!(note.message.contains("is usual of packages"), "{}", note.message);
}
