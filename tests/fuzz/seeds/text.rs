//! Inputs that a person can read.

use super::Seeds;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn all(texts: &[&str]) -> Seeds {
    texts.iter().map(|text| text.replace("DIGEST", DIGEST).into_bytes()).collect()
}

pub(super) fn references() -> Seeds {
    all(&[
        "busybox",
        "arm32v7/busybox:1.36-armv7",
        "quay.io/org/app-arm64:v1.2_3@DIGEST",
        "localhost:5000/a/b__c/d-e:x",
        "[::1]:5000/app",
        "index.docker.io/library/busybox",
        "Registry/app@DIGEST",
    ])
}

pub(super) fn challenges() -> Seeds {
    all(&[
        r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
        "Basic realm=\"Registry\"\nBearer realm=https://auth.example/token",
        r#"Negotiate abc==, Basic realm="a \"quoted\" word", Digest qop="auth, auth-int", nonce=x"#,
        "Basic",
    ])
}

pub(super) fn hosts_toml() -> Seeds {
    all(&[
        "server = \"https://registry.example:5000\"\n\n[host.\"http://mirror.example/v2/x\"]\n  capabilities = \
         [\"pull\", \"resolve\"]\n  override_path = true\n  skip_verify = false\n  dial_timeout = \"3s\"\n  \
         [host.\"http://mirror.example/v2/x\".header]\n    x-token = [\"a\", \"b\"]\n",
        "server = \"\"\ncapabilities = [\"referrers\", \"push\"]\nca = \"ca.pem\"\nclient = [[\"c.pem\", \"k.pem\"]]\n\
         header = { authorization = \"x\" }\n",
        "[host.\"[::1]:5000\"]\n[host.\"user:word@mirror.example\"]\nunknown = 1\n",
    ])
}

pub(super) fn documents() -> Seeds {
    let descriptor = r#""digest":"DIGEST","size":7"#;
    [
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
            {"mediaType":"application/vnd.oci.image.manifest.v1+json",D,"platform":{"architecture":"arm","os":"linux","variant":"v7"}},
            {"mediaType":"application/vnd.oci.image.manifest.v1+json",D,"platform":{"architecture":"unknown","os":"unknown"},
             "annotations":{"vnd.docker.reference.type":"attestation-manifest"}},
            {"mediaType":"application/vnd.oci.image.index.v1+json",D},
            {"mediaType":"application/vnd.oci.image.manifest.v1+json",D,"platform":{"architecture":"arm64","os":"linux",
             "os.version":"10.0.17763.1","os.features":["win32k"]}}]}"#,
        r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}"#,
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "config":{"mediaType":"application/vnd.oci.image.config.v1+json",D},
            "layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",D}],"annotations":{"a":"b"}}"#,
        r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
            "config":{"mediaType":"application/vnd.docker.container.image.v1+json",D},"layers":[]}"#,
        r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"DIGEST"}],"history":[]}"#,
        r#"{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z","config":{"Entrypoint":["app"],
            "Cmd":["-x"],"Env":["PATH=/bin::/usr/bin"],"WorkingDir":"/srv"},"rootfs":{"type":"layers",
            "diff_ids":["DIGEST"]},"history":[{"created_by":"COPY app /bin/app","empty_layer":false}]}"#,
    ]
    .iter()
    .flat_map(|text| all(&[&text.replace("D,", &format!("{descriptor},")).replace("D}", &format!("{descriptor}}}"))]))
    .collect()
}

pub(super) fn platforms() -> Seeds {
    all(&[
        "linux/arm/v7\nlinux\nARM\n7",
        "aarch64\n\naarch64\nv8.0",
        "windows(10.0.17763+win32k%2B)/amd64\nwindows\nx86_64\nv3",
        "armv6l\nLinux\narmel\n",
        "1h30m0.5s\nmacos\narm64\nv9.0",
        "linux/riscv64\nunknown\nunknown\nunknown",
    ])
}

pub(super) fn replies() -> Seeds {
    all(&[
        "206 10 90 100\ncontent-range: bytes 10-99/100\ncontent-length: 90\netag: \"x\"\n\n",
        "206 0 5 100\ncontent-range: bytes 0-3/*\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\n\n",
        "200 0 0 7\ncontent-type: application/vnd.oci.image.index.v1+json\ncontent-length: 7\n\
         docker-content-digest: DIGEST\n\n",
        "429 0 0 0\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\ndate: Sun, 06 Nov 1994 08:49:30 GMT\n\n\
         {\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"slow down\",\"detail\":[]}]}",
        "416 0 1 0\ncontent-range: bytes */0\ncontent-type: text/plain; charset=utf-8\nretry-after: 120\n\nno  more",
        "200 0 0 0\nlink: </v2/app/tags/list?last=b&n=2>; rel=\"next\"\n\n{}",
        "200 0 0 0\nlink: <a?x=1>; rel=prev, <https://elsewhere.example/?x=2>; title=\"x\"; rel=next\n\n",
        "401 0 0 0\n\n{\"details\":\"incorrect password\",\"error\":\"denied\",\"error_description\":\"x\"}",
    ])
}

/// docker's `config.json`.
pub(super) fn logins() -> Seeds {
    all(&[
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"Ym9iOnF1YXk="},"registry.example:5000":{"username":"ann",
            "password":"pier"},"http://quay.io/v2/":{"identitytoken":"token"}},"HttpHeaders":{"a":"b"}}"#,
        r#"{"auths":{"quay.io":{"auth":"","registrytoken":"token"},"docker.io":{"auth":"Ym9iOnF1YXkAAA"}},
            "credsStore":"desktop","credHelpers":{"registry.example:5000":"ecr-login","quay.io":""}}"#,
        r#"{"auths":{"registry.example:5000":{"auth":"no base64"}},"plugins":{},"currentContext":"default"}"#,
    ])
}

/// Boards of the field and what is registered on this machine.
pub(super) fn hosts() -> Seeds {
    let boards = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/boards");
    let boards = std::fs::read_dir(boards).into_iter().flatten().flatten().map(|entry| entry.path());
    let arm64 = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
                 magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
    let jar = "disabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n";
    let mut boards: Vec<_> = boards.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    boards.sort();
    let machines = ["aarch64", "armv6l", "x86_64", "riscv64", "ppc64le", "s390x"];
    let platforms = ["v8l", "v6l", "", "power9", "z14"];
    boards
        .iter()
        .enumerate()
        .map(|(at, text)| {
            let (machine, platform) = (machines[at % machines.len()], platforms[at % platforms.len()]);
            [machine, platform, text, arm64, jar].join("\0").into_bytes()
        })
        .collect()
}

/// A config and its files.
pub(super) fn starts() -> Seeds {
    let config = |entrypoint: &str| {
        format!(r#"{{"architecture":"amd64","os":"linux","config":{{"Entrypoint":{entrypoint},"WorkingDir":"/srv"}}}}"#)
    };
    let release = "/etc/os-release\0r\0ID=\"rocky\"\nID_LIKE='rhel fedora'\nVERSION_ID=9.4\nPRETTY_NAME=\"Rocky\"\n";
    all(&[
        &format!(
            "{}\0/srv/run.sh\0x\0#! /usr/bin/env -S python3 -u\nx\0/usr/bin/env\0x\0\x7fELF\x02\x01\x01",
            config(r#"["./run.sh"]"#)
        ),
        &format!("{}\0/bin/sh\0x\0#!/bin/sh\r\n\0{release}", config(r#"["sh","-c","exec A=1 nginx -g x"]"#)),
        &format!("{}\0/usr/bin/tini\0p\0text without a line\0/app\0?\0\0{release}", config(r#"["tini","--","/app"]"#)),
        &format!("{}\0/bin/app\0d\0\0/usr/bin/app\0l\0", config(r#"["app"]"#)),
    ])
}
