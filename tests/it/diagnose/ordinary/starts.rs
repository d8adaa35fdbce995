//! Ways to name the program of an image.

use serde_json::json;

use super::{base, is_fine};
use crate::diagnose::Surveyor;
use crate::support::build;
use crate::support::debian::{AMD64, ARM64, PORTS};
use crate::support::fixture::Tree;

#[test]
fn programs_and_their_arguments() {
    let (surveyor, port) = (Surveyor::new(), AMD64);
    let layers = [base(&port).layer()];
    for (what, run) in [
        ("exec form", json!({ "Entrypoint": ["/bin/busybox", "httpd", "-f"] })),
        ("shell form", json!({ "Entrypoint": ["/bin/sh", "-c", "httpd -f -p 80"] })),
        ("shell form of CMD", json!({ "Cmd": ["/bin/sh", "-c", "exec /bin/httpd -f"] })),
        ("ENTRYPOINT and CMD", json!({ "Entrypoint": ["/bin/httpd"], "Cmd": ["-f", "-p", "80"] })),
        ("CMD alone", json!({ "Entrypoint": null, "Cmd": ["/bin/httpd", "-f"] })),
        ("an empty ENTRYPOINT", json!({ "Entrypoint": [], "Cmd": ["/bin/sh"] })),
        ("a bare name along PATH", json!({ "Cmd": ["httpd"], "Env": ["PATH=/usr/bin:/bin"] })),
        ("a bare name along the default PATH", json!({ "Cmd": ["httpd"] })),
        ("the last of several PATHs", json!({ "Cmd": ["httpd"], "Env": ["PATH=/none", "PATH=/bin"] })),
        ("a PATH with folders that are not there", json!({ "Cmd": ["sh"], "Env": ["PATH=/opt/bin:/srv/bin:/bin"] })),
        ("a shell that sets variables", json!({ "Cmd": ["/bin/sh", "-c", "PORT=80 exec httpd -f"] })),
        ("a shell with built-in commands", json!({ "Cmd": ["/bin/sh", "-c", "cd /srv && umask 77; httpd -f"] })),
        ("a shell with a variable for a program", json!({ "Cmd": ["/bin/sh", "-c", "$SERVER -f"] })),
        ("a shell with a condition", json!({ "Cmd": ["/bin/sh", "-c", "if true; then httpd; fi"] })),
        ("an applet by its hard link", json!({ "Cmd": ["/bin/ls", "/"] })),
        ("a link out of another folder", json!({ "Cmd": ["/usr/bin/env", "httpd"] })),
        ("dots and slashes", json!({ "Cmd": ["//bin/../bin/./httpd"] })),
        (
            "other settings",
            json!({ "Cmd": ["httpd"], "User": "nobody", "StopSignal": "SIGTERM",
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/srv": {}}, "Labels": {"a": "b"} }),
        ),
    ] {
        is_fine(&surveyor, what, &port, &layers, &run);
    }
}

#[test]
fn names_below_the_working_directory() {
    let (surveyor, port) = (Surveyor::new(), ARM64);
    let app = build::go("arm64", "");
    let layers = [Tree::new().dir("srv").dir("srv/app").file("srv/app/serve", 0o755, &app).layer()];
    for (what, run) in [
        ("a dot and a slash", json!({ "Cmd": ["./serve"], "WorkingDir": "/srv/app" })),
        ("a slash at the end", json!({ "Cmd": ["./serve"], "WorkingDir": "/srv/app/" })),
        ("a folder below", json!({ "Cmd": ["app/serve"], "WorkingDir": "/srv" })),
        ("a folder above", json!({ "Cmd": ["../app/serve"], "WorkingDir": "/srv/app" })),
        ("no working directory", json!({ "Cmd": ["srv/app/serve"] })),
        ("no working directory that counts", json!({ "Cmd": ["/srv/app/serve"], "WorkingDir": "/not/there/yet" })),
    ] {
        is_fine(&surveyor, what, &port, &layers, &run);
    }
}

#[test]
fn scripts_and_their_interpreters() {
    let (surveyor, port) = (Surveyor::new(), PORTS[5]);
    for (what, script) in [
        ("a script for sh", "#!/bin/sh\nexec \"$@\"\n"),
        ("a script with a blank and an argument", "#! /bin/sh -e\nexec \"$@\"\n"),
        ("a script for env", "#!/usr/bin/env sh\nexec \"$@\"\n"),
        ("a script for env with arguments", "#!/usr/bin/env -S sh -e\nexec \"$@\"\n"),
        ("a script of one line", "#!/bin/sh"),
        ("a script for a script", "#!/usr/local/bin/run\n"),
        ("a script with a long argument", &format!("#!/bin/sh {}\n", "x".repeat(300))),
    ] {
        let scripts = Tree::new()
            .dir("usr/local/bin")
            .file("usr/local/bin/entrypoint.sh", 0o755, script.as_bytes())
            .file("usr/local/bin/run", 0o755, b"#!/bin/sh\nexec sh \"$@\"\n");
        let layers = [base(&port).layer(), scripts.layer()];
        let run = json!({ "Entrypoint": ["entrypoint.sh"], "Cmd": ["httpd", "-f"] });
        is_fine(&surveyor, what, &port, &layers, &run);
    }
}
