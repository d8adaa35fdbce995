//! Images of very many layers.

use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture::{Flavour, Image, Layer, Manifest, Tree, busybox_program, platform};
use crate::support::liar::Liar;
use crate::support::lighterman::{Lighterman, exit};
use crate::support::{files_below, host};

/// Layers that an image may have.
const MOST: usize = 500;

/// An image of so many layers, each of which changes what it prints.
fn image_of(layers: usize) -> Image {
    let program = Tree::new().dir("bin").file("bin/busybox", 0o755, &busybox_program(host())).layer();
    let number = |number: usize| Tree::new().file("number", 0o644, number.to_string().as_bytes()).layer();
    let layers: Vec<Layer> = std::iter::once(program).chain((2..=layers).map(number)).collect();
    let start = ("/bin/busybox", &["cat", "/number"][..]);
    Image::single(Manifest::new(Flavour::Oci, &platform(host().arch, ""), &layers, start))
}

#[test]
fn an_image_of_too_many_layers_is_refused_before_one_of_them_is_fetched() {
    let containerd = ContainerdDaemon::start();
    let daemon = Daemon::start(&containerd);
    for layers in [MOST + 1, 3000] {
        let liar = Liar::serving(&image_of(layers), "app:1");
        let reference = liar.reference("app:1");
        let told =
            [&format!("it has {layers} layers, over the limit of {MOST}"), "blame: the image", "hint: ", "fewer steps"];
        daemon.user().run(&["pull", &reference]).fails(exit::CONTENT).says(&told);
        let user = Lighterman::new();
        let (layout, destination) = user.layout("layout");
        user.run(&["pull", &reference, "--to", &destination]).fails(exit::CONTENT).says(&told);
        assert_eq!(files_below(&layout), [""; 0]);
        let blobs: Vec<_> = liar.requests_for("/blobs/").iter().map(|request| request.line()).collect();
        assert_eq!(blobs, [""; 0], "{layers} layers");
    }
    assert_eq!(containerd.ctr_prints(&["images", "ls", "-q"]), "");
    assert_eq!(containerd.ctr_prints(&["leases", "ls", "-q"]), "");
}

#[test]
fn an_image_of_as_many_layers_as_there_may_be_is_pulled_and_runs() {
    // containerd writes its records through three thousand times, which takes no time in memory.
    let containerd = ContainerdDaemon::start_with_small_disk(64);
    let daemon = Daemon::start(&containerd);
    let liar = Liar::serving(&image_of(MOST), "app:1");
    let reference = liar.reference("app:1");
    daemon.user().run(&["pull", &reference]).succeeds();
    assert_eq!(containerd.run("default", &[&reference, "deep"]), MOST.to_string());
    let user = Lighterman::new();
    user.run(&["pull", &reference, "--to", &user.layout("layout").1]).succeeds();
}
