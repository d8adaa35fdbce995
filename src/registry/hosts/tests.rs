use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

/// The hosts of a reference, with what people would compare: URL, capabilities, namespace.
fn listed(name: &str, options: &HostOptions) -> Vec<String> {
    let hosts = hosts_for(&reference(name), options).expect("hosts");
    hosts.iter().map(shown).collect()
}

fn shown(host: &Host) -> String {
    let scheme = match host.scheme {
        Scheme::Https => "https",
        Scheme::Http => "http",
        Scheme::HttpsThenHttp => "either",
    };
    let may = [(Operation::Resolve, "r"), (Operation::Pull, "p")];
    let may: String = may.iter().filter(|(operation, _)| host.can(*operation)).map(|(_, letter)| *letter).collect();
    let checked = if host.tls.verification == Verification::Full { "" } else { " unverified" };
    let stand_in = host.namespace.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
    format!("{scheme}://{}{} {may}{checked}{stand_in}", host.authority, host.path)
}

/// A certs.d directory with one hosts.toml.
fn certs_d(name: &str, text: &str) -> (TempDir, HostOptions) {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join(name)).expect("created");
    fs::write(directory.path().join(name).join("hosts.toml"), text).expect("written");
    let options = HostOptions { hosts_dirs: vec![directory.path().into()], ..HostOptions::default() };
    (directory, options)
}

#[test]
fn without_any_file() {
    let default = HostOptions::default();
    let plain = HostOptions { plain_http: true, ..HostOptions::default() };
    let trusting = HostOptions { skip_verify: true, ..HostOptions::default() };
    let cases = [
        ("busybox", &default, "https://registry-1.docker.io/v2 rp"),
        ("quay.io/a/b", &default, "https://quay.io/v2 rp"),
        ("registry.example:5000/a", &default, "https://registry.example:5000/v2 rp"),
        ("registry.example:80/a", &default, "https://registry.example:80/v2 rp"),
        ("localhost/a", &default, "https://localhost/v2 rp unverified"),
        ("localhost:443/a", &default, "https://localhost:443/v2 rp unverified"),
        ("localhost:80/a", &default, "http://localhost:80/v2 rp unverified"),
        ("localhost:5000/a", &default, "either://localhost:5000/v2 rp unverified"),
        ("127.0.0.2:5000/a", &default, "either://127.0.0.2:5000/v2 rp unverified"),
        ("[::1]:5000/a", &default, "either://[::1]:5000/v2 rp unverified"),
        ("localhost.example:5000/a", &default, "https://localhost.example:5000/v2 rp"),
        ("registry.example/a", &plain, "http://registry.example/v2 rp"),
        ("localhost:5000/a", &plain, "http://localhost:5000/v2 rp unverified"),
        ("registry.example/a", &trusting, "https://registry.example/v2 rp unverified"),
    ];
    for (name, options, expected) in cases {
        assert_eq!(listed(name, options), [expected], "{name}");
    }
}

#[test]
fn hosts_in_the_order_of_the_file_then_the_server() {
    let text = r#"
server = "https://upstream.example/v2/"

[host."https://z.example"]
  capabilities = ["pull"]
[host."a.example:8080/some//path/"]
  capabilities = ["Pull", "resolve", "push", "referrers"]
  [host."a.example:8080/some//path/".header]
    x-one = "1"
    X-Many = ["2", "3"]
[host."http://m.example/v2"]
  override_path = true
  dial_timeout = "1.5s"
[host."http://n.example/deep/v2"]
  skip_verify = true
[host."https://o.example/root"]
  override_path = true
[host."https://p.example"]
  override_path = true
"#;
    let (_directory, options) = certs_d("registry.example", text);
    let expected = [
        "https://z.example/v2 p for registry.example",
        "https://a.example:8080/some/path/v2 rp for registry.example",
        "http://m.example/v2 rp for registry.example",
        "either://n.example/deep/v2 rp unverified for registry.example",
        "https://o.example/root rp for registry.example",
        "https://p.example rp for registry.example",
        "https://upstream.example/v2 rp for registry.example",
    ];
    // `n.example` is on port 80 by its scheme, which is not written in it.
    assert_eq!(listed("registry.example/a", &options), expected);
    let hosts = hosts_for(&reference("registry.example/a"), &options).expect("hosts");
    let many: Vec<_> = hosts[1].headers.get_all("x-many").iter().map(|value| value.as_bytes()).collect();
    assert_eq!((hosts[1].headers.get("x-one").is_some(), many), (true, vec![&b"2"[..], &b"3"[..]]));
    assert!(!format!("{:?}", hosts[1]).contains("\"1\""), "headers may be secrets");
    assert_eq!(hosts[2].dial_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(hosts[0].dial_timeout, None);
}

#[test]
fn without_server_the_registry_itself_is_last_and_can_do_everything() {
    let text = "capabilities = [\"pull\"]\nskip_verify = true\n[host.\"https://mirror.example\"]\n";
    let (_directory, options) = certs_d("docker.io", text);
    let expected = ["https://mirror.example/v2 rp for docker.io", "https://registry-1.docker.io/v2 rp unverified"];
    assert_eq!(listed("busybox", &options), expected);

    let text = "server = \"https://only.example\"\ncapabilities = [\"resolve\"]\n";
    let (_directory, options) = certs_d("docker.io", text);
    assert_eq!(listed("busybox", &options), ["https://only.example/v2 r for docker.io"]);

    let (_directory, options) = certs_d("docker.io", "server = \"registry-1.docker.io\"");
    assert_eq!(listed("busybox", &options), ["https://registry-1.docker.io/v2 rp"], "no ns for docker.io itself");
}

#[test]
fn the_options_skip_verify_yields_to_the_file() {
    let (_directory, options) = certs_d("r.example", "[host.\"https://m.example\"]\nskip_verify = false\n");
    let options = HostOptions { skip_verify: true, ..options };
    let expected = ["https://m.example/v2 rp for r.example", "https://r.example/v2 rp unverified"];
    assert_eq!(listed("r.example/a", &options), expected);
}

#[test]
fn directories_in_containerds_order() {
    let first = tempfile::tempdir().expect("a directory");
    let second = tempfile::tempdir().expect("a directory");
    let options = HostOptions {
        hosts_dirs: vec![first.path().join("missing"), first.path().into(), second.path().into()],
        ..HostOptions::default()
    };
    let asked = || listed("r.example:5000/a", &options)[0].clone();
    let add = |root: &TempDir, name: &str, server: &str| {
        fs::create_dir(root.path().join(name)).expect("created");
        fs::write(root.path().join(name).join("hosts.toml"), format!("server = {server:?}")).expect("written");
    };
    assert_eq!(asked(), "https://r.example:5000/v2 rp");
    add(&second, "r.example_5000_", "second");
    assert!(asked().starts_with("https://second/"));
    add(&first, "_default", "default");
    assert!(asked().starts_with("https://default/"), "a directory that knows wins over later ones");
    add(&first, "r.example:5000", "colon");
    assert!(asked().starts_with("https://colon/"));
    add(&first, "r.example_5000_", "underscore");
    assert!(asked().starts_with("https://underscore/"));
    add(&first, "r.example", "portless");
    assert!(listed("r.example/a", &options)[0].starts_with("https://portless/"));
}

#[test]
fn mirrors_come_first() {
    let (_directory, options) = certs_d("docker.io", "[host.\"https://toml.example\"]");
    let mirrors = ["https://one.example", "http://two.example:80/x", "three.example/", "localhost:5000", "[::1]:7"];
    let options = HostOptions { mirrors: mirrors.map(str::to_owned).into(), ..options };
    let expected = [
        "https://one.example/v2 rp for docker.io",
        "http://two.example/x/v2 rp for docker.io",
        "https://three.example/v2 rp for docker.io",
        "either://localhost:5000/v2 rp for docker.io",
        "either://[::1]:7/v2 rp for docker.io",
        "https://toml.example/v2 rp for docker.io",
        "https://registry-1.docker.io/v2 rp",
    ];
    assert_eq!(listed("busybox", &options), expected);
}

#[test]
fn mirrors_that_are_none() {
    for url in ["", "ftp://m", "https://", "https://u:secret@m", "https://m?x=secret", "https://m#f", "a b"] {
        let options = HostOptions { mirrors: vec![url.into()], ..HostOptions::default() };
        let error = hosts_for(&reference("busybox"), &options).expect_err(url);
        assert_eq!(error.kind(), Kind::InvalidArgument, "{url}");
        assert!(!error.to_string().contains("u:secret"), "{error}");
    }
}

#[test]
fn malformed_files_are_errors_with_their_line() {
    let cases = [
        ("server = ", 1),
        ("\n\n[host.\"https://a\"\n", 3),
        ("\nserver = 5\n", 2),
        ("server = \"ftp://x\"", 1),
        ("server = \"https://u:p@x\"", 1),
        ("\n[host.\"https://a b\"]\n", 2),
        ("\n[host.\"https://a`b\"]\n", 2),
        ("\n[host.\"https://a\"]\ncapabilities = [\n\"pull\",\n\"fly\"]\n", 5),
        ("[host.\"https://a\"]\n\nca = 1\n", 3),
        ("[host.\"https://a\"]\n\nclient = [[\"a\"]]\n", 3),
        ("[host.\"https://a\"]\nskip_verify = \"yes\"\n", 2),
        ("[host.\"https://a\"]\ndial_timeout = \"3\"\n", 2),
        ("[host.\"https://a\"]\ndial_timeout = 3\n", 2),
        ("\nhost = 1", 2),
        ("\n[host.\"https://a\"]\nskip_verify = true\nskip_verify = true\n", 4),
    ];
    for (text, line) in cases {
        let (_directory, options) = certs_d("r.example", text);
        let error = hosts_for(&reference("r.example/a"), &options).expect_err(text);
        let HostsError::Malformed { line: found, .. } = &error else { panic!("{text}: {error}") };
        assert_eq!(*found, line, "{text}: {error}");
        assert_eq!((error.kind(), error.blame()), (Kind::InvalidConfiguration, Blame::Configuration));
        assert!(error.to_string().contains("hosts.toml:"), "{error}");
    }
    for header in ["\"a b\" = \"x\"", "a = 1", "a = [1]", "a = \"x\\ny\""] {
        let (_directory, options) = certs_d("r.example", &format!("[header]\n{header}\n"));
        hosts_for(&reference("r.example/a"), &options).expect_err(header);
    }
    let (directory, options) = certs_d("r.example", "");
    fs::write(directory.path().join("r.example/hosts.toml"), b"a = 1\n\xff").expect("written");
    let error = hosts_for(&reference("r.example/a"), &options).expect_err("not UTF-8");
    assert!(matches!(error, HostsError::Malformed { line: 2, .. }), "{error}");
}

#[test]
fn unknown_keys_and_empty_files_do_not_matter() {
    let (_directory, options) = certs_d("r.example", "future = 1\n[host.\"https://m\"]\nrate = 3\n[other]\n");
    assert_eq!(listed("r.example/a", &options).len(), 2);
    let (_directory, options) = certs_d("r.example", "");
    assert_eq!(listed("r.example/a", &options), ["https://r.example/v2 rp"]);
}

#[test]
fn certificates_are_read_relative_to_the_file() {
    let text = "ca = \"ca.pem\"\nclient = \"both.pem\"\n[host.\"https://m\"]\nca = [\"ca.pem\", \"../up.pem\"]\n\
                client = [\"both.pem\", [\"cert.pem\", \"key.pem\"]]\n";
    let (directory, options) = certs_d("r.example", text);
    let missing = hosts_for(&reference("r.example/a"), &options).expect_err("no such files");
    assert!(matches!(&missing, HostsError::Read { path, .. } if path.ends_with("r.example/ca.pem")), "{missing}");
    for name in ["r.example/ca.pem", "r.example/both.pem", "r.example/cert.pem", "r.example/key.pem", "up.pem"] {
        fs::write(directory.path().join(name), name).expect("written");
    }
    let hosts = hosts_for(&reference("r.example/a"), &options).expect("hosts");
    let names = |pems: Vec<&Pem>| -> Vec<String> {
        pems.iter().map(|pem| String::from_utf8_lossy(&pem.bytes).into_owned()).collect()
    };
    assert_eq!(names(hosts[0].tls.authorities.iter().collect()), ["r.example/ca.pem", "up.pem"]);
    let pairs = hosts[0].tls.identities.iter().flat_map(|pair| [&pair.certificate, &pair.key]).collect();
    let expected = ["r.example/both.pem", "r.example/both.pem", "r.example/cert.pem", "r.example/key.pem"];
    assert_eq!(names(pairs), expected);
    // Without `server`, what stands at the root is for the registry itself.
    assert_eq!(names(hosts[1].tls.authorities.iter().collect()), ["r.example/ca.pem"]);
}

#[test]
fn dockers_certificate_directories() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("r.example");
    fs::create_dir(&place).expect("created");
    for name in ["b.crt", "a.crt", "me.cert", "me.key", "both.cert", "README"] {
        fs::write(place.join(name), name).expect("written");
    }
    let options = HostOptions { hosts_dirs: vec![directory.path().into()], ..HostOptions::default() };
    let hosts = hosts_for(&reference("r.example/a"), &options).expect("hosts");
    assert_eq!(shown(&hosts[0]), "https://r.example/v2 rp");
    let name = |pem: &Pem| pem.path.file_name().expect("a name").to_string_lossy().into_owned();
    let tls = &hosts[0].tls;
    assert_eq!(tls.authorities.iter().map(name).collect::<Vec<_>>(), ["a.crt", "b.crt"]);
    let pairs: Vec<_> = tls.identities.iter().map(|pair| (name(&pair.certificate), name(&pair.key))).collect();
    let expected = [("both.cert", "both.cert"), ("me.cert", "me.key")];
    assert_eq!(pairs, expected.map(|(certificate, key)| (certificate.to_owned(), key.to_owned())));
}

#[test]
fn authorities_are_taken_apart() {
    let cases = [
        ("a", ("a", None)),
        ("a:5000", ("a", Some(5000))),
        ("[::1]", ("[::1]", None)),
        ("[::1]:5", ("[::1]", Some(5))),
        ("a:99999", ("a:99999", None)),
    ];
    for (text, expected) in cases {
        assert_eq!(split_authority(text), expected);
    }
    for (host, expected) in
        [("LocalHost", true), ("127.9.9.9", true), ("[::1]", true), ("128.0.0.1", false), ("", false)]
    {
        assert_eq!(is_loopback(host), expected, "{host}");
    }
}

proptest! {
    #[test]
    fn no_file_and_no_url_panics(text in "[a-z\\[\\]\"'=\\n:/.{}, 0-9_]{0,120}", bytes in any::<Vec<u8>>()) {
        let path = Path::new("/nowhere/hosts.toml");
        let _ = (file::entries(path, &bytes), file::entries(path, text.as_bytes()));
        if let Ok(endpoint) = Endpoint::parse(&text, PathRule::Standard) {
            prop_assert!(endpoint.path.ends_with("/v2"));
            let url = format!("{}://{}{}", endpoint.scheme.as_str(), endpoint.authority, endpoint.path);
            prop_assert_eq!(Endpoint::parse(&url, PathRule::Standard), Ok(endpoint));
        }
    }
}

#[test]
fn nobody_is_led_to_himself() {
    let own = |text: &str| vec![text.parse().expect("an address")];
    for (mirror, own, is_own) in [
        ("http://127.0.0.1:500", own("127.0.0.1:500"), true),
        ("http://localhost:500", own("127.0.0.1:500"), true),
        ("http://[::1]:500", own("127.0.0.1:500"), true),
        ("http://127.0.0.1:501", own("127.0.0.1:500"), false),
        ("https://192.0.2.7:500", own("192.0.2.7:500"), true),
        ("https://192.0.2.8:500", own("192.0.2.7:500"), false),
        ("http://mirror.example:500", own("127.0.0.1:500"), false),
        ("http://127.0.0.1", own("127.0.0.1:80"), true),
        ("https://127.0.0.1", own("127.0.0.1:443"), true),
        ("https://127.0.0.1", own("127.0.0.1:80"), false),
        ("http://127.0.0.1:500", own("0.0.0.0:500"), true),
    ] {
        let options = HostOptions { mirrors: vec![mirror.into()], own: own.clone(), ..HostOptions::default() };
        let reference = "registry.example/app:1".parse().expect("a reference");
        let hosts = hosts_for(&reference, &options).expect("hosts");
        assert_eq!(hosts.len(), if is_own { 1 } else { 2 }, "{mirror} {own:?}");
        assert!(hosts.last().is_some_and(Host::is_upstream));
    }
}

#[test]
fn a_mirror_is_pushed_to_only_where_its_table_says_so() {
    let takers = |text: &str, mirrors: &[&str]| {
        let (_directory, options) = certs_d("registry.example", text);
        let options = HostOptions { mirrors: mirrors.iter().map(|&url| url.into()).collect(), ..options };
        let hosts = hosts_for(&reference("registry.example/a"), &options).expect("hosts");
        let takers = hosts.iter().filter(|host| host.can(Operation::Push)).map(|host| host.authority.clone());
        takers.collect::<Vec<_>>()
    };
    let mirror = "[host.\"https://mirror.example\"]\n";
    assert_eq!(takers("", &["mirror.example"]), ["registry.example"]);
    assert_eq!(takers(mirror, &[]), ["registry.example"]);
    let granted = format!("{mirror}capabilities = [\"pull\", \"push\"]\n");
    assert_eq!(takers(&granted, &[]), ["mirror.example", "registry.example"]);
    let own = "[host.\"https://registry.example\"]\n";
    assert_eq!(takers(own, &[]), ["registry.example", "registry.example"]);
    let server = format!("server = \"https://proxy.example\"\n{mirror}");
    assert_eq!(takers(&server, &[]), ["proxy.example"], "it stands in the registry's place");
    let read_only = format!("server = \"https://registry.example\"\ncapabilities = [\"pull\", \"resolve\"]\n{mirror}");
    assert!(takers(&read_only, &[]).is_empty());
}

#[test]
fn whom_a_host_leads_to_is_no_nearer_than_itself() {
    let far = ["http://127.0.0.1/", "http://registry.example:1/", "https://storage.example/"];
    let leads = |name: &str, options: &HostOptions, to: &str| {
        let host = hosts_for(&reference(name), options).expect("hosts").remove(0);
        host.reach_of_others(&Url::parse(to).expect("a URL"))
    };
    let plain = HostOptions { plain_http: true, ..HostOptions::default() };
    for to in far {
        assert_eq!(leads("registry.example/a", &HostOptions::default(), to), Reach::Elsewhere(None), "{to}");
        assert_eq!(leads("registry.example/a", &plain, to), Reach::Elsewhere(None), "{to}");
        assert_eq!(leads("10.0.0.1:5000/a", &plain, to), Reach::Elsewhere(None), "{to}");
        assert_eq!(leads("localhost:5000/a", &plain, to), Reach::Elsewhere(Some(Near::Node)), "{to}");
        assert_eq!(leads("[::1]:5000/a", &plain, to), Reach::Elsewhere(Some(Near::Node)), "{to}");
        assert_eq!(leads("169.254.20.10:5000/a", &plain, to), Reach::Elsewhere(Some(Near::Link)), "{to}");
        let strange =
            Host { reach: Reach::Public, ..hosts_for(&reference("a.example/a"), &plain).expect("hosts").remove(0) };
        assert_eq!(strange.reach_of_others(&Url::parse(to).expect("a URL")), Reach::Public, "{to}");
    }
    // Who describes a host knows where its name leads.
    let (_directory, options) = certs_d("registry.example", "server = \"http://Registry.example:5000\"\n");
    assert_eq!(leads("registry.example/a", &options, "http://registry.example:5001/"), Reach::Anywhere);
    assert_eq!(leads("registry.example/a", &options, "http://127.0.0.1/"), Reach::Elsewhere(None));
}

#[test]
fn what_is_not_verified_of_a_host_is_of_its_token_server() {
    let (_directory, options) = certs_d("r.example", "server = \"https://r.example\"\nskip_verify = true\n");
    let everywhere = HostOptions { skip_verify: true, ..HostOptions::default() };
    for (name, options, own, of_tokens) in [
        ("r.example/a", &HostOptions::default(), Verification::Full, Verification::Full),
        ("r.example/a", &options, Verification::SkipHere, Verification::Full),
        ("localhost/a", &HostOptions::default(), Verification::SkipHere, Verification::Full),
        ("r.example/a", &everywhere, Verification::Skip, Verification::Skip),
    ] {
        let settings = hosts_for(&reference(name), options).expect("hosts").remove(0).tls;
        assert_eq!((settings.verification, settings.for_stranger().verification), (own, own), "{name}");
        let identity = Identity {
            certificate: Pem { path: "a".into(), bytes: [].into() },
            key: Pem { path: "b".into(), bytes: [].into() },
        };
        let shown = TlsSettings { identities: vec![identity], ..settings }.for_token_server();
        assert_eq!((shown.verification, shown.identities.len()), (of_tokens, 0), "{name}");
    }
}
