//! Containers that containerd's CRI starts from images that came through lighterman.

use std::path::Path;

use futures_util::future::join_all;

use super::client::{
    Client, ContainerConfig, ContainerSecurity, ContainerStatus, ContainerStatusAnswer, CreateContainer, Empty,
    LinuxContainer, LinuxPod, Namespaces, PodConfig, PodMetadata, PodSecurity, RunPod, Text, spec,
};
use super::node::{Node, eventually, push};
use crate::support::containerd::PAUSE_IMAGE;
use crate::support::fixture::{self, Flavour, Image, Manifest, Tree, busybox_program, greeting, platform};
use crate::support::host;
use crate::support::liar::Liar;
use crate::support::registry::Registry;

const EXITED: i32 = 2;
/// As many as fill a node, twice.
const PULLS: usize = 200;

/// Everything of the host's.
const HOSTS: Namespaces = Namespaces { network: 2, pid: 2, ipc: 2 };

fn pod(logs: &Path) -> PodConfig {
    let metadata = PodMetadata { name: "pod".into(), uid: "uid".into(), namespace: "default".into() };
    let security = PodSecurity { namespaces: Some(HOSTS) };
    PodConfig {
        metadata: Some(metadata),
        log_directory: logs.to_str().expect("UTF-8").into(),
        linux: Some(LinuxPod { security: Some(security) }),
    }
}

/// A program that waits for ever, as pods begin with.
fn pause() -> Image {
    let layer = Tree::new().dir("bin").file("bin/busybox", 0o755, &busybox_program(host())).layer();
    let platform = platform(host().arch, host().variant);
    let command = ("/bin/busybox", &["sleep", "1000000"][..]);
    Image::single(Manifest::new(Flavour::Oci, &platform, &[layer], command))
}

/// A running pod without containers; its ID.
async fn run_pod(node: &Node<'_>, registry: &Registry, config: &PodConfig) -> String {
    let paused = push(registry, &pause(), "pause:1");
    node.ours().await.pull(&paused).await.expect("pulls");
    node.containerd.ctr_prints(&["-n", "k8s.io", "images", "tag", &paused, PAUSE_IMAGE]);
    let theirs = node.theirs().await;
    // containerd hears of the new name by an event.
    eventually(async || theirs.image(PAUSE_IMAGE).await).await;
    let run = RunPod { config: Some(config.clone()) };
    theirs.call::<Text>("RuntimeService/RunPodSandbox", run).await.expect("the pod runs").text
}

async fn create(runtime: &Client, pod: (&str, &PodConfig), image: &str, name: &str) -> Result<String, tonic::Status> {
    let security = ContainerSecurity { namespaces: Some(HOSTS) };
    let config = ContainerConfig {
        metadata: Some(Text { text: name.into() }),
        image: Some(spec(image)),
        log_path: format!("{name}.log"),
        linux: Some(LinuxContainer { security: Some(security) }),
    };
    let create = CreateContainer { pod: pod.0.into(), config: Some(config), sandbox: Some(pod.1.clone()) };
    Ok(runtime.call::<Text>("RuntimeService/CreateContainer", create).await?.text)
}

async fn remove_pod(runtime: &Client, pod: &str) {
    for method in ["RuntimeService/StopPodSandbox", "RuntimeService/RemovePodSandbox"] {
        runtime.call::<Empty>(method, Text { text: pod.into() }).await.expect(method);
    }
}

async fn status(runtime: &Client, container: &str) -> ContainerStatus {
    let asked = Text { text: container.into() };
    let answer: ContainerStatusAnswer = runtime.call("RuntimeService/ContainerStatus", asked).await.expect("answers");
    answer.status.expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_from_images_that_came_through_us() {
    let node = Node::start().await;
    let registry = Registry::plain();
    let logs = tempfile::tempdir().expect("a temporary folder");
    let config = pod(logs.path());
    let sandbox = run_pod(&node, &registry, &config).await;
    let image = node.ours().await.pull(&push(&registry, fixture::busybox(), "app:1")).await.expect("pulls");

    let runtime = node.theirs().await;
    let container = create(&runtime, (&sandbox, &config), &image, "app").await.expect("creates");
    runtime.call::<Empty>("RuntimeService/StartContainer", Text { text: container.clone() }).await.expect("starts");
    let ended = eventually(async || Some(status(&runtime, &container).await).filter(|s| s.state == EXITED)).await;
    let log = std::fs::read_to_string(logs.path().join("app.log")).expect("a log");
    assert_eq!(ended.exit_code, 0, "{log}");
    assert!(log.contains(greeting(host()).trim_end()), "{log}");
    // Image garbage collection compares the two.
    let shown = node.ours().await.image(&image).await.expect("is there");
    assert_eq!((&shown.id, &image), (&image, &fixture::busybox().of(host()).config.digest));
    assert!(ended.image_ref == image || shown.repo_digests.contains(&ended.image_ref), "{ended:?} {shown:?}");
    remove_pod(&runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_container_misses_the_image_that_was_pulled_for_it() {
    let node = Node::start().await;
    let registry = Registry::plain();
    let logs = tempfile::tempdir().expect("a temporary folder");
    let config = pod(logs.path());
    let sandbox = run_pod(&node, &registry, &config).await;
    let liar = Liar::start();
    let images: Vec<String> = (0..PULLS)
        .map(|number| {
            let layer = Tree::new().file("number", 0o644, number.to_string().as_bytes()).layer();
            let platform = platform(host().arch, host().variant);
            let manifest = Manifest::new(Flavour::Oci, &platform, &[layer], ("/number", &[]));
            let name = format!("app{}:{number}", number % 7);
            liar.add(&Image::single(manifest), &name);
            liar.reference(&name)
        })
        .collect();

    let (ours, runtime) = (node.ours().await, node.theirs().await);
    let created = join_all(images.iter().enumerate().map(async |(number, image)| {
        let id = ours.pull(image).await.map_err(|status| format!("{image}: {status}"))?;
        // As kubelet does, by ID; and as crictl does, by name.
        let name = if number % 2 == 0 { &id } else { image };
        let seen = runtime.image(image).await.ok_or_else(|| format!("{image}: not shown"))?;
        let created = create(&runtime, (&sandbox, &config), name, &format!("container-{number}")).await;
        created.map_err(|status| format!("{name}: {status}"))?;
        if seen.id == id && seen.size > 0 { Ok(()) } else { Err(format!("{image}: {id} is shown as {seen:?}")) }
    }))
    .await;
    let failed: Vec<String> = created.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of {PULLS} failed:\n{}", failed.len(), failed.join("\n"));
    remove_pod(&runtime, &sandbox).await;
}
