use super::*;
use crate::core::digest::Digest;
use crate::core::elf::sample::Sample;
use crate::core::extract::Extract;
use crate::core::limits::Limits;
use crate::diagnose::testing::image::starting;

fn config(json: &str) -> ImageConfig {
    let document = format!(r#"{{"os":"linux","architecture":"amd64","config":{json}}}"#);
    ImageConfig::parse(document.as_bytes(), &Limits::default()).expect("a config")
}

fn binary(path: &str, architecture: &str) -> (File, Box<Binary>) {
    let content = Extract::whole(Sample::of(architecture).bytes());
    let What::Elf(binary) = classify(&content) else { panic!("a binary") };
    let (layer, path) = (Digest::of(b"layer"), path.to_owned());
    (File { asked: path.clone(), path, layer, mode: 0o755, content, verified: true, certain: true }, binary)
}

#[test]
fn what_is_taken_by_its_name_is_in_the_way() {
    let config = config(r#"{"Env":["PATH=/usr/bin:/opt/app/bin/","LD_LIBRARY_PATH=/opt/lib:/srv/lib"]}"#);
    for (path, architecture, in_the_way) in [
        ("/usr/bin/helper", "arm64", true),
        ("/opt/app/bin/helper", "arm64", true),
        ("/usr/local/bin/helper", "arm64", false),
        ("/usr/lib/libx.so", "arm64", true),
        ("/usr/lib/x86_64-linux-gnu/libx.so", "arm64", true),
        ("/srv/lib/libx.so", "arm64", true),
        ("/usr/lib/aarch64-linux-gnu/libx.so", "arm64", false),
        ("/usr/bin/x/helper", "arm64", false),
        ("/srv/node_modules/x/prebuilds/linux-arm64/x.node", "arm64", false),
        ("/usr/lib/python3/dist-packages/x/libs/x.so", "s390x", false),
        // Kernels and loaders for amd64 know what to do with these.
        ("/usr/bin/steam", "386", false),
        ("/usr/lib/libx.so", "386", false),
    ] {
        let start = starting("/app", "/app", Sample::of("amd64").bytes());
        let others = add(vec![binary(path, architecture)], &config, start).others;
        let told: Vec<bool> = others.iter().map(|other| other.in_the_way).collect();
        assert_eq!(told, [in_the_way], "{path}");
    }
}

#[test]
fn what_is_of_the_programs_kind_or_started_is_no_other() {
    let start = || starting("/app", "/app", Sample::of("amd64").bytes());
    assert!(add(vec![binary("/usr/bin/helper", "amd64")], &config("{}"), start()).others.is_empty());
    let mut both = start();
    let chain = starting("/tool", "/tool", Sample::of("arm64").bytes()).first;
    let (way, argv) = ("app -> /tool".into(), vec!["/tool".into()]);
    let by = crate::diagnose::contents::By::Starter;
    both.next.push(crate::diagnose::contents::Next { by, way, argv, certain: true, renamed: false, chain });
    assert!(add(vec![binary("/tool", "arm64")], &config("{}"), both).others.is_empty());
}
