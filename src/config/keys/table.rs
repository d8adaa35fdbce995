//! The rows of the table.

use super::super::accepts::Accepts;
use super::super::setting::Setting;
use super::{Change, Fallback, Field, Key, key};

macro_rules! field {
    ($name:ident) => {
        Field {
            set: |config, value| match Setting::read(value) {
                Some(read) => {
                    config.$name = Some(read);
                    true
                }
                None => false,
            },
            get: |config| config.$name.as_ref().map(Setting::write),
            copy: |from, to| to.$name.clone_from(&from.$name),
        }
    };
}

const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// Every key, in the order of the file.
pub static KEYS: &[Key] = &[
    Key {
        accepts: Accepts::OneOf(LEVELS),
        default: Fallback::Words("warn, and info for the service"),
        example: "\"info\"",
        variable: Some("LIGHTERMAN_LOG"),
        flag: Some("--log-level"),
        change: Change::Now,
        ..key("", "log-level", "what is logged, on stderr or in the journal", field!(log_level))
    },
    Key {
        accepts: Accepts::OneOf(&["auto", "text", "json", "journald"]),
        default: Fallback::Value("\"auto\""),
        example: "\"json\"",
        ..key(
            "",
            "log-format",
            "how log lines look; auto is fields in systemd's journal, text elsewhere",
            field!(log_format),
        )
    },
    Key {
        accepts: Accepts::Paths,
        default: Fallback::Value("[\"/etc/containerd/certs.d\", \"/etc/docker/certs.d\"]"),
        example: "[\"/etc/containerd/certs.d\"]",
        flag: Some("--hosts-dir"),
        change: Change::Now,
        ..key("", "hosts-dir", "directories of hosts.toml files, as containerd's config_path", field!(hosts_dirs))
    },
    Key {
        accepts: Accepts::Texts,
        default: Fallback::Value("[]"),
        example: "[\"https://mirror.example\"]",
        flag: Some("--mirror"),
        change: Change::Now,
        ..key("", "mirrors", "asked before every registry, in this order", field!(mirrors))
    },
    Key {
        accepts: Accepts::Flag,
        default: Fallback::Value("false"),
        example: "false",
        flag: Some("--plain-http"),
        change: Change::Now,
        ..key("", "plain-http", "speak plain HTTP to registries", field!(plain_http))
    },
    Key {
        accepts: Accepts::Flag,
        default: Fallback::Value("false"),
        example: "false",
        flag: Some("--skip-verify"),
        change: Change::Now,
        ..key("", "skip-verify", "do not verify the certificates of registries", field!(skip_verify))
    },
    Key {
        accepts: Accepts::Path,
        default: Fallback::Words("the system's authorities alone"),
        example: "\"/etc/ssl/our-ca.pem\"",
        flag: Some("--tlscacert"),
        change: Change::Now,
        ..key("", "tlscacert", "authorities to trust besides the system's, PEM", field!(tlscacert))
    },
    Key {
        accepts: Accepts::Path,
        example: "\"/etc/ssl/node.pem\"",
        flag: Some("--tlscert"),
        change: Change::Now,
        ..key("", "tlscert", "this node's certificate for registries, PEM", field!(tlscert))
    },
    Key {
        accepts: Accepts::Path,
        example: "\"/etc/ssl/node.key\"",
        flag: Some("--tlskey"),
        change: Change::Now,
        ..key("", "tlskey", "the key of that certificate, PEM", field!(tlskey))
    },
    Key {
        accepts: Accepts::Count,
        default: Fallback::Value("6"),
        example: "6",
        flag: Some("--max-concurrent-downloads"),
        change: Change::Restart,
        ..key("", "max-concurrent-downloads", "blobs of one pull at a time", field!(max_concurrent_downloads))
    },
    Key {
        accepts: Accepts::Count,
        default: Fallback::Value("16"),
        example: "16",
        ..key("", "max-connections-per-host", "connections to one host", field!(max_connections_per_host))
    },
    Key {
        accepts: Accepts::Count,
        default: Fallback::Value("32"),
        example: "32",
        ..key("", "max-connections", "connections to all hosts together", field!(max_connections))
    },
    Key {
        accepts: Accepts::Rate,
        default: Fallback::Words("no limit"),
        example: "\"100MB\"",
        flag: Some("--max-bandwidth"),
        ..key("", "max-bandwidth", "bytes per second of all downloads together", field!(max_bandwidth))
    },
    Key {
        accepts: Accepts::Memory,
        default: Fallback::Value("\"64MiB\""),
        example: "\"64MiB\"",
        flag: Some("--max-memory"),
        ..key("", "max-memory", "memory for all downloads and layers together", field!(max_memory))
    },
    Key {
        accepts: Accepts::OneOf(&["arriving", "verified"]),
        default: Fallback::Value("\"arriving\""),
        example: "\"verified\"",
        flag: Some("--unpack"),
        change: Change::Now,
        ..key("", "unpack", "when layers are unpacked", field!(unpack))
    },
    Key {
        accepts: Accepts::Socket,
        default: Fallback::Value("\"/run/containerd/containerd.sock\""),
        example: "\"/run/containerd/containerd.sock\"",
        variable: Some("CONTAINERD_ADDRESS"),
        flag: Some("--containerd-address"),
        ..key("containerd", "address", "containerd's socket", field!(containerd_address))
    },
    Key {
        default: Fallback::Value("\"default\""),
        example: "\"k8s.io\"",
        variable: Some("CONTAINERD_NAMESPACE"),
        flag: Some("--namespace"),
        ..key("containerd", "namespace", "the namespace to pull into", field!(namespace))
    },
    Key {
        default: Fallback::Value("\"overlayfs\""),
        example: "\"overlayfs\"",
        variable: Some("CONTAINERD_SNAPSHOTTER"),
        flag: Some("--snapshotter"),
        ..key("containerd", "snapshotter", "the snapshotter to unpack with", field!(snapshotter))
    },
    Key {
        accepts: Accepts::Path,
        default: Fallback::Words(
            "/var/lib/lighterman/staging, or beside containerd's content where only that can be linked from",
        ),
        example: "\"/var/lib/lighterman/staging\"",
        flag: Some("--staging-dir"),
        ..key("containerd", "staging-dir", "where partial downloads are kept", field!(staging_dir))
    },
    Key {
        accepts: Accepts::OneOf(&["link", "write"]),
        default: Fallback::Value("\"link\""),
        example: "\"write\"",
        flag: Some("--content"),
        ..key("containerd", "content", "how containerd gets blobs", field!(content))
    },
    Key {
        accepts: Accepts::OneOf(&["lighterman", "diff-service"]),
        default: Fallback::Value("\"lighterman\""),
        example: "\"diff-service\"",
        flag: Some("--extract-with"),
        change: Change::Now,
        ..key("containerd", "extract-with", "who extracts layers", field!(extract_with))
    },
    Key {
        accepts: Accepts::Flag,
        default: Fallback::Value("true"),
        example: "false",
        flag: Some("--sync-snapshots"),
        change: Change::Now,
        ..key(
            "containerd",
            "sync-snapshots",
            "write layers through to the disk before the image has a name",
            field!(sync_snapshots),
        )
    },
    Key {
        accepts: Accepts::Socket,
        default: Fallback::Value("\"/run/lighterman/lighterman.sock\""),
        example: "\"/run/lighterman/lighterman.sock\"",
        ..key("serve", "listen", "the socket of the API and of CRI, unless systemd holds it", field!(serve_listen))
    },
    Key {
        accepts: Accepts::Group,
        default: Fallback::Value("\"lighterman\""),
        example: "\"lighterman\"",
        ..key("serve", "group", "who may use the socket besides root, if there is such a group", field!(serve_group))
    },
    Key {
        accepts: Accepts::Count,
        default: Fallback::Value("16"),
        example: "8",
        ..key(
            "serve",
            "max-pulls",
            "pulls that bring something from one registry at a time; more wait in line",
            field!(max_pulls),
        )
    },
    Key {
        accepts: Accepts::Duration,
        default: Fallback::Value("\"5m\""),
        example: "\"5m\"",
        change: Change::Now,
        ..key(
            "serve",
            "pull-progress-timeout",
            "a pull that asks hosts in vain for so long ends; \"0s\" is never",
            field!(pull_progress_timeout),
        )
    },
    Key {
        accepts: Accepts::Loopback,
        default: Fallback::Words("no mirror"),
        example: "[\"127.0.0.1:5000\"]",
        ..key("mirror", "listen", "where it listens, on this machine only", field!(mirror_listen))
    },
    Key {
        accepts: Accepts::Registry,
        default: Fallback::Value("\"docker.io\""),
        example: "\"docker.io\"",
        change: Change::Now,
        ..key("mirror", "upstream", "the registry that is meant where a client names none", field!(mirror_upstream))
    },
    Key {
        accepts: Accepts::Registries,
        default: Fallback::Value("[]"),
        example: "[\"registry.internal:5000\"]",
        change: Change::Now,
        ..key(
            "mirror",
            "allow",
            "registries at private addresses, or on this node, that clients may name",
            field!(mirror_allow),
        )
    },
    Key {
        accepts: Accepts::Socket,
        default: Fallback::Words("containerd.address"),
        example: "\"/run/containerd/containerd.sock\"",
        ..key("cri", "endpoint", "the CRI socket that other calls are passed on to", field!(cri_endpoint))
    },
    Key {
        accepts: Accepts::Flag,
        default: Fallback::Value("false"),
        example: "true",
        change: Change::Now,
        ..key("cri", "delegate", "bring everything and let containerd's own pull finish", field!(cri_delegate))
    },
    Key {
        accepts: Accepts::OneOf(&["allow", "refuse"]),
        default: Fallback::Value("\"allow\""),
        example: "\"refuse\"",
        change: Change::Now,
        ..key("verify", "on-error", "what is answered for an image that cannot be looked at", field!(verify_on_error))
    },
    Key {
        accepts: Accepts::Loopback,
        default: Fallback::Words("no metrics"),
        example: "[\"127.0.0.1:9465\"]",
        ..key("metrics", "listen", "where they are served, on this machine only", field!(metrics_listen))
    },
    Key {
        accepts: Accepts::OneOf(&["refuse", "warn", "allow"]),
        default: Fallback::Words("refuse for what the image claims, warn for what only its program shows"),
        example: "\"warn\"",
        change: Change::Now,
        ..key(
            "arch-mismatch",
            "default",
            "what is done with images that are in none of the lists",
            field!(mismatch_default),
        )
    },
    Key {
        accepts: Accepts::Scopes,
        default: Fallback::Value("[]"),
        example: "[\"registry.example:5000/prod\"]",
        change: Change::Now,
        ..key(
            "arch-mismatch",
            "refuse",
            "registries and repositories whose images are refused",
            field!(mismatch_refuse),
        )
    },
    Key {
        accepts: Accepts::Scopes,
        default: Fallback::Value("[]"),
        example: "[\"docker.io\"]",
        change: Change::Now,
        ..key("arch-mismatch", "warn", "those whose images are taken, with a warning", field!(mismatch_warn))
    },
    Key {
        accepts: Accepts::Scopes,
        default: Fallback::Value("[]"),
        example: "[\"docker.io/tonistiigi/binfmt\"]",
        change: Change::Now,
        ..key("arch-mismatch", "allow", "those whose images are taken without a word", field!(mismatch_allow))
    },
    Key {
        accepts: Accepts::Flag,
        default: Fallback::Words("only where nothing else here is about their image"),
        example: "false",
        change: Change::Now,
        ..key(
            "arch-mismatch",
            "pods-may-loosen",
            "whether pods may be laxer by their annotations; stricter they may always be",
            field!(mismatch_pods),
        )
    },
];
