//! Ways to put a program into an image.

use serde_json::json;

use super::{base, is_fine};
use crate::diagnose::{Surveyor, exec};
use crate::support::build;
use crate::support::debian::{AMD64, ARM64, ARMEL, ARMHF, PORTS, RISCV64, S390X};
use crate::support::fixture::{Layer, Tree, noise};

#[test]
fn dynamic_programs_of_debian_with_their_loader() {
    let surveyor = Surveyor::new();
    for port in PORTS {
        is_fine(&surveyor, port.name, &port, &[port.system().layer()], &exec("/usr/bin/hello"));
    }
}

#[test]
fn images_without_a_distribution() {
    let surveyor = Surveyor::new();
    let program = |arch| Tree::new().file("app", 0o755, &build::go(arch, ""));
    is_fine(&surveyor, "scratch", &RISCV64, &[program("riscv64").layer()], &exec("/app"));
    let distroless = Tree::new()
        .file("etc/os-release", 0o644, b"PRETTY_NAME=\"Distroless\"\nID=\"debian\"\nVERSION_ID=\"12\"\n")
        .file("etc/passwd", 0o644, b"nonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n")
        .file("etc/ssl/certs/ca-certificates.crt", 0o644, &noise(1, 4096));
    let run = json!({ "Entrypoint": ["/app"], "User": "65532", "WorkingDir": "/home/nonroot",
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"] });
    is_fine(&surveyor, "distroless", &S390X, &[distroless.layer(), program("s390x").layer()], &run);
    // The loader itself can be started, and be given the program.
    let run = json!({ "Entrypoint": [AMD64.loader, "/usr/bin/hello"] });
    is_fine(&surveyor, "a loader", &AMD64, &[AMD64.system().layer()], &run);
}

#[test]
fn programs_behind_links() {
    let surveyor = Surveyor::new();
    let port = ARMHF;
    let alternatives = base(&port)
        .dir("etc/alternatives")
        .symlink("usr/bin/awk", "/etc/alternatives/awk")
        .symlink("etc/alternatives/awk", "/usr/bin/mawk")
        .symlink("usr/bin/mawk", "../../bin/busybox");
    is_fine(&surveyor, "alternatives", &port, &[alternatives.layer()], &exec("awk"));
    let interpreter = base(&port)
        .symlink("usr/local/bin/python3", "python3.11")
        .file("usr/local/bin/python3.11", 0o755, &port.busybox())
        .symlink("opt/current", "releases/7")
        .symlink("opt/releases/7/bin/serve", "/usr/local/bin/python3");
    let run = json!({ "Cmd": ["python3", "-m", "http.server"], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"] });
    is_fine(&surveyor, "an interpreter with its version", &port, &[interpreter.layer()], &run);
    let releases =
        Tree::new().symlink("opt/current", "releases/7").file("opt/releases/7/bin/serve", 0o755, &port.busybox());
    is_fine(&surveyor, "a linked folder", &port, &[releases.layer()], &exec("/opt/current/bin/serve"));
}

/// A system in which `/bin`, `/lib` and `/lib64` are links to what is below `/usr`.
fn merged() -> Tree {
    let loader = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    Tree::new()
        .symlink("bin", "usr/bin")
        .symlink("lib", "usr/lib")
        .symlink("lib64", "usr/lib64")
        .file(loader, 0o755, &AMD64.loader_program())
        .symlink("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
        .file("usr/bin/busybox", 0o755, &AMD64.busybox())
        .symlink("usr/bin/sh", "/bin/busybox")
        .file("usr/bin/hello", 0o755, &AMD64.hello())
}

#[test]
fn systems_with_everything_below_usr() {
    let (surveyor, port) = (Surveyor::new(), AMD64);
    let script = Tree::new().file("run", 0o755, b"#!/bin/sh\nexec hello\n").layer();
    for program in ["/bin/sh", "/usr/bin/sh", "/bin/hello", "hello", "/run"] {
        is_fine(&surveyor, program, &port, &[merged().layer(), script.clone()], &exec(program));
    }
    // A later layer puts files behind the link, as a package does that knows nothing of it.
    let late = Tree::new().file("bin/late", 0o755, &port.hello()).layer();
    is_fine(&surveyor, "a file behind a link", &port, &[merged().layer(), late], &exec("/usr/bin/late"));
}

#[test]
fn layers_that_replace_and_remove() {
    let (surveyor, port) = (Surveyor::new(), ARMEL);
    let foreign = || Tree::new().dir("app").file("app/serve", 0o755, &AMD64.busybox());
    let right = || Tree::new().dir("app").file("app/serve", 0o755, &port.busybox());
    let empty = || Tree::new().layer();
    let run = exec("/app/serve");
    let cases: Vec<(&str, Vec<Layer>)> = vec![
        ("replaced", vec![foreign().layer(), right().layer()]),
        (
            "removed and brought again",
            vec![foreign().layer(), Tree::new().file("app/.wh.serve", 0o644, b"").layer(), right().layer()],
        ),
        (
            "its folder removed and brought again",
            vec![foreign().layer(), Tree::new().file(".wh.app", 0o644, b"").layer(), right().layer()],
        ),
        ("an opaque folder", vec![foreign().layer(), right().file("app/.wh..wh..opq", 0o644, b"").layer()]),
        (
            "something else removed",
            vec![right().file("app/other", 0o644, b"x").layer(), Tree::new().file("app/.wh.other", 0o644, b"").layer()],
        ),
        ("empty layers", vec![empty(), right().layer(), empty(), empty()]),
        (
            "a hard link to a lower layer's file",
            vec![
                Tree::new().dir("lib").file("lib/serve", 0o755, &port.busybox()).layer(),
                Tree::new().dir("app").hardlink("app/serve", "lib/serve").layer(),
            ],
        ),
        (
            "a link to a lower layer's file",
            vec![
                Tree::new().dir("lib").file("lib/serve", 0o755, &port.busybox()).layer(),
                Tree::new().dir("app").symlink("app/serve", "../lib/serve").layer(),
            ],
        ),
        (
            "a file that becomes a folder",
            vec![Tree::new().file("app", 0o755, &AMD64.busybox()).layer(), right().layer()],
        ),
        (
            "below a big layer of data",
            vec![right().layer(), Tree::new().dir("data").file("data/blob", 0o644, &noise(3, 1 << 20)).layer()],
        ),
        (
            "behind much data in its own layer",
            vec![
                Tree::new()
                    .dir("app")
                    .file("app/a.bin", 0o644, &noise(5, 1 << 20))
                    .file("app/serve", 0o755, &port.busybox())
                    .layer(),
            ],
        ),
    ];
    for (what, layers) in cases {
        is_fine(&surveyor, what, &port, &layers, &run);
    }
}

#[test]
fn permissions_of_all_kinds() {
    let (surveyor, port) = (Surveyor::new(), ARM64);
    for mode in [0o755, 0o555, 0o500, 0o111, 0o4755, 0o2755, 0o777] {
        let layer = Tree::new().file("app", mode, &port.busybox()).layer();
        is_fine(&surveyor, &format!("{mode:o}"), &port, &[layer], &exec("/app"));
    }
    // An earlier folder of the PATH has a file of that name that nobody may execute: it is passed over.
    let layer = Tree::new().file("a/app", 0o644, b"notes about app\n").file("b/app", 0o755, &port.busybox()).layer();
    let run = json!({ "Cmd": ["app"], "Env": ["PATH=/a:/b"] });
    is_fine(&surveyor, "no right to execute the first", &port, &[layer], &run);
}
