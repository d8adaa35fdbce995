//! A registry elsewhere that wants us to ask for it what is open to this node alone.

use crate::support::fixture::Image;
use crate::support::fixture::{Blob, Flavour, Manifest, Tree, platform};
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::sandbox::Sandbox;

/// Places that a registry elsewhere must not lead to.
const NEAR: [&str; 6] =
    ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254", "metadata.example"];

/// What is said of such a place.
pub(crate) const REFUSED: &str = "is on this node or its own link";

/// A node that takes us for `evil.example`, which is not a name of this node as far as it knows.
pub(crate) struct Bed {
    pub(crate) sandbox: Sandbox,
    pub(crate) evil: Liar,
    pub(crate) victim: Liar,
    _hosts: tempfile::NamedTempFile,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let hosts = tempfile::NamedTempFile::new().expect("a temporary file");
        let text = "127.0.0.1 localhost evil.example\n169.254.169.254 metadata.example\n";
        std::fs::write(hosts.path(), text).expect("a writable file");
        let sandbox = Sandbox::with_hosts(hosts.path());
        Self { sandbox, evil: Liar::start(), victim: Liar::serving(&image(), "app:1"), _hosts: hosts }
    }

    /// An image of the evil registry.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("evil.example:{}/{name}", port(&self.evil))
    }

    /// The evil registry leads whoever asks for this repository to a place: the name of the way.
    pub(crate) fn lead(&self, repository: &str, place: &str, by_realm: bool) -> &'static str {
        let url = format!("http://{place}:{}/v2/app/manifests/1?x=y", port(&self.victim));
        let (way, reply) = match by_realm {
            true => {
                let challenge = format!("Bearer realm=\"{url}\",service=\"evil\"");
                ("a realm", Reply::Status(401, vec![("www-authenticate", challenge)], "{}"))
            }
            false => ("a redirect", Reply::Status(307, vec![("location", url)], "")),
        };
        self.evil.always(&format!("/v2/{repository}/"), reply);
        way
    }
}

fn port(liar: &Liar) -> String {
    liar.address().rsplit_once(':').expect("a port").1.to_owned()
}

fn image() -> Image {
    let layer = Tree::new().file("cargo.bin", 0o644, b"cargo").layer();
    Image::single(Manifest::new(Flavour::Oci, &platform("amd64", ""), &[layer], ("/cargo", &[])))
}

#[test]
fn neither_a_redirect_nor_a_realm_leads_to_this_node_or_its_cloud() {
    let bed = Bed::new();
    let user = Lighterman::inside(&bed.sandbox);
    let (layout, destination) = user.layout("layout");
    for (number, place) in NEAR.iter().enumerate() {
        for by_realm in [false, true] {
            let repository = format!("app{number}-{by_realm}");
            let way = bed.lead(&repository, place, by_realm);
            let reference = bed.reference(&format!("{repository}:1"));
            let refused = user.run(&["pull", &reference, "--plain-http", "--to", &destination]);
            let refused = refused.fails(exit::CREDENTIALS);
            assert!(refused.stderr.contains(REFUSED), "{way} to {place}: {}", refused.stderr);
            assert!(refused.stderr.contains("the registry"), "{way} to {place}: {}", refused.stderr);
        }
    }
    assert!(bed.victim.requests().is_empty(), "{:?}", bed.victim.requests());
    assert!(!layout.exists());
}

#[test]
fn a_blob_is_not_asked_for_at_this_node_either() {
    let bed = Bed::new();
    let image = image();
    bed.evil.add(&image, "app:1");
    let blobs: Vec<&Blob> = image.manifests[0].blobs().collect();
    for blob in blobs {
        let url = format!("http://127.0.0.1:{}/v2/app/blobs/{}", port(&bed.victim), blob.digest);
        bed.evil.always(&format!("/v2/app/blobs/{}", blob.digest), Reply::Status(307, vec![("location", url)], ""));
    }
    let user = Lighterman::inside(&bed.sandbox);
    let (_, destination) = user.layout("layout");
    let args = ["pull", &bed.reference("app:1"), "--platform", "linux/amd64", "--plain-http", "--to", &destination];
    let refused = user.run(&args).fails(exit::CREDENTIALS);
    assert!(refused.stderr.contains(REFUSED), "{}", refused.stderr);
    assert!(bed.victim.requests().is_empty(), "{:?}", bed.victim.requests());
}
