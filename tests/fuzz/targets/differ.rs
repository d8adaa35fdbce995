//! What containerd asks its differs for: the input is an ApplyRequest.
#![no_main]

use std::path::{Component, Path};

use containerd_client::services::v1::ApplyRequest;
use libfuzzer_sys::fuzz_target;
use lighterman::core::text::steers;
use lighterman::service::diff::application;
use lighterman::unpack::containerd::mounts::{site, stack};
use lighterman_fuzz::heap;
use prost::Message as _;
use tonic::Code;

fuzz_target!(|data: &[u8]| {
    let Ok(request) = ApplyRequest::decode(data) else { return };
    let asked = request.clone();
    match heap::within(256 * 1024 + 200 * data.len(), || application(request)) {
        Ok(application) => {
            let layer = asked.diff.expect("a layer");
            assert_eq!(
                (application.layer.digest.to_string(), application.layer.size as i64),
                (layer.digest, layer.size)
            );
            assert_eq!(application.mounts, asked.mounts);
        }
        Err(status) => {
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(!status.message().is_empty() && !status.message().contains(steers), "{:?}", status.message());
        }
    }
    if let Ok(site) = site(&asked.mounts) {
        assert!(is_plain(&site.dir) && site.lowers.iter().all(|lower| is_plain(lower)), "{site:?}");
        // Who looks at the same snapshot later finds the same directories.
        let stack = stack(&asked.mounts).expect("is read as well");
        assert_eq!(stack.directories, [vec![site.dir], site.lowers].concat());
    }
    if let Ok(stack) = stack(&asked.mounts) {
        assert!(!stack.directories.is_empty() && stack.directories.iter().all(|dir| is_plain(dir)), "{stack:?}");
    }
});

/// From the root down, with nothing that leads elsewhere.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir) && parts.all(|part| matches!(part, Component::Normal(_)))
}
