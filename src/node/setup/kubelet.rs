//! kubelet: which socket it pulls images through.

use super::edit::insert_yaml;
use super::facts::Kubelet;
use super::root::Content;
use super::version::Version;
use super::{Steps, Topic, Wanted};

const KEY: &str = "imageServiceEndpoint";
/// The key came with it; the flag is older.
const SINCE: Version = Version::new(1, 27);

/// What connects kubelet.
pub(super) fn plan(node: &Kubelet, wanted: &Wanted, steps: &mut Steps) {
    steps.about(Topic::Kubelet);
    let endpoint = format!("unix://{}", wanted.socket);
    let paste = format!("{KEY}: {endpoint}\n");
    if let Some((value, file)) = &node.flag {
        if value.trim_start_matches("unix://") != wanted.socket {
            let why = format!("kubelet pulls images through {value}, and this flag wins over its configuration file");
            steps.advise(file, why, format!("--image-service-endpoint={endpoint}\n"));
        }
        return;
    }
    let path = &node.config.path;
    if let Some(version) = node.version.filter(|version| *version < SINCE) {
        let why = format!("kubelet {version} takes the endpoint by a flag only");
        return steps.advise(
            "/etc/default/kubelet",
            why,
            format!("KUBELET_EXTRA_ARGS=--image-service-endpoint={endpoint}\n"),
        );
    }
    let why = "kubelet pulls images through lighterman, which passes everything else on to containerd".to_owned();
    match &node.config.content {
        Content::Text(text) | Content::Linked(text) if names_endpoint(text, &wanted.socket) => {}
        Content::Text(text) => match insert_yaml(text, "KubeletConfiguration", KEY, &endpoint) {
            Some(edited) => {
                steps.edit(path, text, edited, why);
                steps.then(path, "systemctl restart kubelet");
            }
            None => steps.advise(path, "it names another endpoint, or is written in an unusual way".into(), paste),
        },
        Content::Linked(_) => {
            steps.advise(path, "it is a symbolic link, so that somebody else manages it".into(), paste)
        }
        // A node that has not joined a cluster yet.
        Content::Absent => steps.advise(path, "kubelet has no configuration yet".into(), paste),
        Content::Unreadable(reason) => steps.advise(path, format!("it cannot be read ({reason})"), paste),
    }
}

/// Whether a configuration file of kubelet's names this socket as its image service.
#[must_use]
pub fn names_endpoint(config: &str, socket: &str) -> bool {
    let values = config.lines().filter_map(|line| line.strip_prefix(KEY)?.strip_prefix(':'));
    let mut bare = values.map(|rest| rest.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']));
    bare.any(|value| value.strip_prefix("unix://") == Some(socket))
}
