//! Settings that are changed while the mirror runs.

use super::{blob_path, image, layer};
use crate::support::liar::Liar;
use crate::support::mirror::{MirrorServer, Setup, lead};

#[test]
fn names_are_listed_and_struck_off_by_a_reload() {
    let image = image(30, 1000);
    let registry = Liar::serving(&image, "app:1");
    let mut mirror = MirrorServer::start(&Setup::default());
    let blob = blob_path("app", layer(&image), &registry.address());
    let listed = Setup::allowing(&[&registry.address()]);
    for _ in 0..2 {
        let answer = mirror.get(&blob, &[]);
        assert_eq!((answer.status, &*answer.code()), (400, "DENIED"));
        mirror.reload(&listed);
        assert_eq!(mirror.get(&blob, &[]).status, 200);
        // What was granted and kept meanwhile is not given away any more either.
        mirror.reload(&Setup::default());
    }
    assert_eq!(mirror.get(&blob, &[]).status, 400);
}

#[test]
fn another_registry_is_meant_after_a_reload() {
    let (one, other) = (Liar::serving(&image(31, 1000), "app:1"), Liar::serving(&image(32, 1000), "app:2"));
    let [one, other] =
        [one, other].map(|registry| (Setup { upstream: Some(registry.address()), ..Setup::default() }, registry));
    let mut mirror = MirrorServer::start(&one.0);
    let found = |mirror: &MirrorServer| {
        let base = mirror.get("/v2/", &[]);
        let realm = base.field("www-authenticate").to_owned();
        (["1", "2"].map(|tag| mirror.get(&format!("/v2/app/manifests/{tag}"), &[]).status), realm)
    };
    assert_eq!(found(&mirror), ([200, 404], format!("Basic realm=\"{}\"", one.1.address())));
    mirror.reload(&other.0);
    assert_eq!(found(&mirror), ([404, 200], format!("Basic realm=\"{}\"", other.1.address())));
}

#[test]
fn hosts_files_are_looked_for_elsewhere_after_a_reload() {
    let image = image(33, 1000);
    let registry = Liar::serving(&image, "app:1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    lead(folder.path(), &registry.address(), &[]);
    let mut mirror = MirrorServer::start(&Setup::default());
    let blob = blob_path("app", layer(&image), &registry.address());
    assert_eq!(mirror.get(&blob, &[]).status, 400);
    mirror.reload(&Setup::hosts_dir(folder.path()));
    assert_eq!(mirror.get(&blob, &[]).status, 200);
}

#[test]
fn where_it_listens_is_changed_by_a_restart_alone_and_the_log_says_so() {
    let mut mirror = MirrorServer::start(&Setup::default());
    mirror.reload(&Setup { listen: Some("127.0.0.1:1".into()), ..Setup::default() });
    assert_eq!(mirror.get("/v2/", &[]).status, 200);
    mirror.daemon().wait_for_log("count from the next start on: mirror.listen");
}

#[test]
fn a_download_under_way_outlives_a_reload() {
    use crate::support::liar::{At, Reply};
    let image = image(34, 4 << 20);
    let registry = Liar::serving(&image, "app:1");
    registry.always("GET /v2/app/blobs/", Reply::Gated(At::Half));
    let mut mirror = MirrorServer::allowing(&[&registry.address()]);
    let mut reading = mirror.open("GET", &blob_path("app", layer(&image), &registry.address()), &[]);
    reading.read(1 << 20);
    mirror.reload(&Setup::default());
    registry.open_gate();
    assert!(reading.finish().body == layer(&image).bytes);
}
