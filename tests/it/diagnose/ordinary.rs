//! Images as people build them every day. Of none of them may anything be said but notes: a tool that
//! cries wolf is switched off.

mod files;
mod indexes;
mod starts;

use serde_json::Value;

use super::Surveyor;
use crate::support::debian::Port;
use crate::support::fixture::{Flavour, Image, Layer, Manifest, Tree, platform};

/// Looks into an image of these layers for a node of the port's own platform, and fails the test
/// unless all is well and the program was found to be the port's.
#[track_caller]
fn is_fine(surveyor: &Surveyor, what: &str, port: &Port, layers: &[Layer], run: &Value) {
    let manifest = Manifest::running(Flavour::Oci, &platform(port.arch, port.variant), layers, run);
    let diagnosis = surveyor.look(&Image::single(manifest), &[&port.platform()]);
    assert!(diagnosis.problems().is_empty(), "{what}: {:#}", diagnosis.document);
    let program = diagnosis.programs().first().and_then(|program| program["platform"].as_str());
    let platform = program.unwrap_or_else(|| panic!("{what}: no program found: {:#}", diagnosis.document));
    assert!(platform.starts_with(&format!("linux/{}", port.arch)), "{what}: {platform}");
}

/// A small base image: a shell, `env` and other applets by symbolic links, `os-release`.
fn base(port: &Port) -> Tree {
    let tree = Tree::new().dir("bin").dir("etc").dir("usr").dir("usr/bin").file("bin/busybox", 0o755, &port.busybox());
    tree.symlink("bin/sh", "busybox")
        .symlink("bin/httpd", "/bin/busybox")
        .symlink("usr/bin/env", "../../bin/busybox")
        .hardlink("bin/ls", "bin/busybox")
        .file("etc/os-release", 0o644, b"ID=boatyard\nVERSION_ID=1\nPRETTY_NAME=\"Boatyard 1\"\n")
}
