//! hosts.toml, read from its file as always.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use http::uri::Authority;
use libfuzzer_sys::fuzz_target;
use lighterman::core::reference::Reference;
use lighterman::registry::{HostOptions, HostsError, hosts_for};

/// A folder for the one file, in that of `run`, which removes it.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| tempfile::tempdir().expect("a folder").keep());

fuzz_target!(|data: &[u8]| {
    let folder = FOLDER.join("_default");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("hosts.toml"), data).expect("a file");
    let options = HostOptions { hosts_dirs: vec![FOLDER.clone()], ..HostOptions::default() };
    let reference: Reference = "registry.example:5000/app".parse().expect("a reference");
    match hosts_for(&reference, &options) {
        Ok(hosts) => {
            assert!(!hosts.is_empty(), "there is always the registry itself");
            for host in hosts {
                assert!(host.authority.parse::<Authority>().is_ok(), "{:?}", host.authority);
                assert!(!host.authority.contains('@'), "{:?}", host.authority);
                assert!(host.path.is_empty() || host.path.starts_with('/'), "{:?}", host.path);
            }
        }
        Err(HostsError::Malformed { line, problem, .. }) => {
            let lines = 1 + data.iter().filter(|byte| **byte == b'\n').count();
            assert!((1..=lines).contains(&line) && !problem.is_empty(), "line {line} of {lines}: {problem}");
        }
        Err(_) => {}
    }
});
