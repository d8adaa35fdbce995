//! Where the mirror goes for a stranger, and whom it hears.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::{blob_path, image, layer};
use crate::support::daemon::Daemon;
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::Lighterman;
use crate::support::mirror::{Client, LISTEN, MirrorServer, Setup, lead};
use crate::support::sandbox::Sandbox;

#[test]
fn a_name_that_nobody_listed_leads_to_no_private_address() {
    let registry = Liar::serving(&image(4, 1000), "app:1");
    let port = registry.address().rsplit_once(':').expect("a port").1.to_owned();
    let mirror = MirrorServer::allowing(&["elsewhere.example"]);
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "127.1.2.3",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        let answer = mirror.get(&format!("/v2/app/manifests/1?ns={host}:{port}"), &[]);
        assert_eq!((answer.status, &*answer.code()), (400, "DENIED"), "{host}: {answer:?}");
    }
    assert!(registry.requests().is_empty(), "{:?}", registry.requests());
}

#[test]
fn a_registry_of_a_hosts_file_is_listed_by_that() {
    let registry = Liar::serving(&image(4, 1000), "app:1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    lead(folder.path(), &registry.address(), &[]);
    let mirror = MirrorServer::start(&Setup::hosts_dir(folder.path()));
    assert_eq!(mirror.get(&format!("/v2/app/manifests/1?ns={}", registry.address()), &[]).status, 200);
}

#[test]
fn a_hosts_file_that_leads_to_the_mirror_itself_is_no_loop() {
    let image = image(5, 1000);
    let registry = Liar::serving(&image, "app:1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mirror = MirrorServer::start(&Setup::hosts_dir(folder.path()));
    lead(folder.path(), &registry.address(), &[&mirror.address()]);
    let path = blob_path("app", layer(&image), &registry.address());
    assert!(mirror.get(&path, &[]).is_whole());
    assert!(registry.requests().iter().all(|request| request.header("via").is_some()));
}

#[test]
fn a_way_back_to_the_mirror_that_no_file_shows_is_seen_by_the_request() {
    // Two mirrors, each of which is told to ask the other.
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let mirrors = [0, 1].map(|number: usize| MirrorServer::start(&Setup::hosts_dir(folders[number].path())));
    for (number, folder) in folders.iter().enumerate() {
        let dir = folder.path().join("images.example");
        std::fs::create_dir_all(&dir).expect("a writable folder");
        let server = format!("server = \"http://{}\"\n", mirrors[1 - number].address());
        std::fs::write(dir.join("hosts.toml"), server).expect("a writable folder");
    }
    let answer = mirrors[0].get("/v2/app/manifests/1?ns=images.example", &[]);
    // The second mirror tells the first one that its registry does not work, which is so.
    assert_eq!(answer.status, 502, "{answer:?}");
}

#[test]
fn a_redirect_or_realm_that_leads_back_to_the_mirror_is_no_loop() {
    let registry = Liar::start();
    let mirror = MirrorServer::allowing(&[&registry.address()]);
    let back =
        |repository: &str| format!("http://{}/v2/{repository}/manifests/1?ns={}", mirror.address(), registry.address());
    let challenge = format!("Bearer realm=\"{}\",service=\"evil\"", back("realm"));
    registry.always("/v2/redirect/", Reply::Status(307, vec![("location", back("redirect"))], ""));
    registry.always("/v2/realm/", Reply::Status(401, vec![("www-authenticate", challenge)], "{}"));
    for repository in ["redirect", "realm"] {
        let path = format!("/v2/{repository}/manifests/1?ns={}", registry.address());
        let answer = mirror.get(&path, &[]);
        assert_eq!(answer.status, 502, "{repository}: {answer:?}");
        // Once in each round of questions, and not once more for each way round.
        let asked = registry.requests_for(repository);
        assert!(asked.len() <= 2, "{repository}: {asked:?}");
        assert!(asked.iter().all(|request| request.header("via").is_some()));
    }
}

#[test]
fn web_pages_and_requests_for_others_are_not_heard() {
    let registry = Liar::serving(&image(6, 1000), "app:1");
    let mirror = MirrorServer::allowing(&[&registry.address()]);
    let path = format!("/v2/app/manifests/1?ns={}", registry.address());
    for (header, status) in [
        (("origin", "https://evil.example"), 403),
        (("sec-fetch-site", "cross-site"), 403),
        (("sec-fetch-site", "same-site"), 403),
        (("host", "evil.example"), 421),
        (("host", "registry.example:5000"), 421),
    ] {
        let answer = mirror.get(&path, &[header]);
        assert_eq!((answer.status, &*answer.code()), (status, "DENIED"), "{header:?}");
    }
    assert!(registry.requests().is_empty());
    assert_eq!(mirror.get(&path, &[("host", "localhost"), ("sec-fetch-site", "none")]).status, 200);
}

#[test]
fn requests_are_bounded() {
    let mirror = MirrorServer::allowing(&[]);
    let long = "x".repeat(100_000);
    assert!(matches!(mirror.get(&format!("/v2/{long}"), &[]).status, 414 | 431));
    assert_eq!(mirror.get("/v2/", &[("x-long", &long)]).status, 431);
    let many: Vec<(String, String)> = (0..200).map(|number| (format!("x-{number}"), "y".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(mirror.get("/v2/", &many).status, 431);
    assert_eq!(mirror.get("/v2/", &[]).status, 200);
}

#[test]
fn a_redirect_of_a_listed_registry_is_followed_and_carries_no_secrets() {
    let image = image(7, 1000);
    let (registry, storage) = (Liar::serving(&image, "app:1"), Liar::serving(&image, "app:1"));
    registry.redirect_blobs_to(&storage);
    let mirror = MirrorServer::allowing(&[&registry.address()]);
    let answer = mirror.get(&blob_path("app", layer(&image), &registry.address()), &[("authorization", "Basic YTpi")]);
    assert!(answer.body == layer(&image).bytes);
    assert!(!storage.requests().is_empty());
    assert!(storage.requests().iter().all(|request| request.header("authorization").is_none()));
}

/// A proxy that has nothing, and what it was asked.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    proxy_saying("404 Not Found".into())
}

/// A proxy that gives everybody this status, with these headers.
fn proxy_saying(head: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
            heard.lock().expect("no panic").extend(lines.next());
            let _ = lines.find(String::is_empty);
            // Who does not wait for it does not want it.
            let _ = write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (address, asked)
}

#[test]
fn a_proxy_is_not_asked_for_names_that_lead_to_private_addresses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hosts = folder.path().join("hosts");
    let own =
        "127.0.0.1 localhost\n10.9.8.7 private.example\n169.254.169.254 metadata.example\n1.1.1.1 public.example\n";
    std::fs::write(&hosts, own).expect("a writable folder");
    let sandbox = Sandbox::with_hosts(&hosts);
    let (address, asked) = proxy();
    let node = Lighterman::inside(&sandbox).with("http_proxy", &format!("http://{address}"));
    let nowhere = std::path::Path::new("/nowhere/containerd.sock");
    let daemon = Daemon::start_with(node, nowhere, "plain-http = true", &LISTEN);
    let mirror = Client::of_mirror(&daemon);
    for name in ["private.example", "metadata.example", "10.9.8.7", "169.254.169.254", &address] {
        let answer = mirror.get(&format!("/v2/app/manifests/1?ns={name}"), &[]);
        assert_eq!((answer.status, &*answer.code()), (400, "DENIED"), "{name}: {answer:?}");
    }
    assert_eq!(*asked.lock().expect("no panic"), [] as [String; 0]);
    // What this node cannot resolve, the proxy has to judge.
    for name in ["public.example", "unknown.invalid"] {
        assert_eq!(mirror.get(&format!("/v2/app/manifests/1?ns={name}"), &[]).status, 404, "{name}");
        let line = format!("HEAD http://{name}/v2/app/manifests/1 HTTP/1.1");
        assert!(asked.lock().expect("no panic").contains(&line), "{line}: {asked:?}");
    }
}

#[test]
fn a_registry_that_nobody_listed_leads_to_no_private_address_by_redirect_or_realm() {
    let victim = Liar::serving(&image(4, 1000), "app:1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n1.1.1.1 public.example\n").expect("a writable folder");
    let sandbox = Sandbox::with_hosts(&hosts);
    let port = victim.address().rsplit_once(':').expect("a port").1.to_owned();
    for place in ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254"] {
        let url = format!("http://{place}:{port}/v2/app/manifests/1");
        for head in [
            format!("307 Temporary Redirect\r\nlocation: {url}"),
            format!("401 Unauthorized\r\nwww-authenticate: Bearer realm=\"{url}\""),
        ] {
            // It stands in for a registry at a public address.
            let (address, asked) = proxy_saying(head.clone());
            let node = Lighterman::inside(&sandbox).with("http_proxy", &format!("http://{address}"));
            let nowhere = std::path::Path::new("/nowhere/containerd.sock");
            let daemon = Daemon::start_with(node, nowhere, "plain-http = true", &LISTEN);
            let answer = Client::of_mirror(&daemon).get("/v2/app/manifests/1?ns=public.example", &[]);
            assert_eq!((answer.status, &*answer.code()), (400, "DENIED"), "{head}: {answer:?}");
            assert_eq!(asked.lock().expect("no panic").len(), 1, "{head}");
        }
    }
    assert!(victim.requests().is_empty(), "{:?}", victim.requests());
}
