//! What containerd says about itself.

use std::path::PathBuf;

use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{Plugin, PluginsRequest};
use containerd_client::types;

use super::Containerd;
use crate::core::platform::Platform;
use crate::store::StoreError;

const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";
const CONTENT: &str = "io.containerd.content.v1";

/// A snapshotter that containerd was built or configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshotter {
    /// Its name: `overlayfs`, `native`, …
    pub name: String,
    /// It was started and can be used; others are skipped on this node or failed.
    pub usable: bool,
    /// What containerd matches images with when it uses this one.
    pub platform: Option<Platform>,
}

impl Containerd {
    /// containerd's version, as it prints it.
    ///
    /// # Errors
    /// [`StoreError`] where it does not answer.
    pub async fn version(&self) -> Result<String, StoreError> {
        let mut client = VersionClient::new(self.channel());
        let reply = client.version(self.request(())).await;
        Ok(reply.map_err(|status| self.failure("tell its version", &status))?.into_inner().version)
    }

    /// Every snapshotter, usable or not, in containerd's order.
    ///
    /// # Errors
    /// [`StoreError`] where containerd does not answer.
    pub async fn snapshotters(&self) -> Result<Vec<Snapshotter>, StoreError> {
        Ok(self.plugins(SNAPSHOTTER).await?.into_iter().map(snapshotter).collect())
    }

    /// What containerd matches images with: its own view of the node's platform. `None`
    /// where no snapshotter says, as with one that is a plug-in of its own.
    ///
    /// # Errors
    /// [`StoreError`] where containerd does not answer.
    pub async fn platform(&self) -> Result<Option<Platform>, StoreError> {
        Ok(matched_with(&self.snapshotters().await?, self.snapshotter()))
    }

    /// Checks that the chosen snapshotter can be used, before anything is fetched for it.
    ///
    /// # Errors
    /// [`StoreError::UnknownSnapshotter`] with the names of those that can.
    pub async fn check_snapshotter(&self) -> Result<(), StoreError> {
        let all = self.snapshotters().await?;
        let usable: Vec<String> = all.into_iter().filter(|one| one.usable).map(|one| one.name).collect();
        if usable.iter().any(|name| name == self.snapshotter()) {
            return Ok(());
        }
        Err(StoreError::UnknownSnapshotter { name: self.snapshotter().into(), usable })
    }

    /// The directory of containerd's content store, where it tells.
    ///
    /// # Errors
    /// [`StoreError`] where containerd does not answer.
    pub async fn content_root(&self) -> Result<Option<PathBuf>, StoreError> {
        let plugins = self.plugins(CONTENT).await?;
        Ok(plugins.into_iter().find_map(|mut plugin| plugin.exports.remove("root")).map(PathBuf::from))
    }

    /// The directory of the chosen snapshotter, where it tells.
    ///
    /// # Errors
    /// [`StoreError`] where containerd does not answer.
    pub(crate) async fn snapshotter_root(&self) -> Result<Option<PathBuf>, StoreError> {
        let mut plugins = self.plugins(SNAPSHOTTER).await?.into_iter();
        let own = plugins.find(|plugin| plugin.id == self.snapshotter());
        Ok(own.and_then(|mut plugin| plugin.exports.remove("root")).map(PathBuf::from))
    }

    async fn plugins(&self, kind: &str) -> Result<Vec<Plugin>, StoreError> {
        let mut client = IntrospectionClient::new(self.channel());
        let request = self.request(PluginsRequest { filters: vec![format!("type=={kind}")] });
        let reply = client.plugins(request).await;
        Ok(reply.map_err(|status| self.failure("list its plug-ins", &status))?.into_inner().plugins)
    }
}

fn snapshotter(plugin: Plugin) -> Snapshotter {
    let platform = plugin.platforms.into_iter().next().map(platform);
    Snapshotter { name: plugin.id, usable: plugin.init_err.is_none(), platform }
}

fn platform(platform: types::Platform) -> Platform {
    Platform {
        os: platform.os,
        architecture: platform.architecture,
        variant: platform.variant,
        os_version: platform.os_version,
        ..Platform::default()
    }
}

/// The chosen snapshotter's word counts first, then that of any other: all of them ask
/// the same function of containerd.
fn matched_with(snapshotters: &[Snapshotter], chosen: &str) -> Option<Platform> {
    let chosen = snapshotters.iter().find(|one| one.name == chosen).and_then(|one| one.platform.clone());
    chosen.or_else(|| snapshotters.iter().find_map(|one| one.platform.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(id: &str, platforms: &[(&str, &str)], failed: bool) -> Plugin {
        let platforms = platforms.iter().map(|(architecture, variant)| types::Platform {
            os: "linux".into(),
            architecture: (*architecture).into(),
            variant: (*variant).into(),
            ..types::Platform::default()
        });
        Plugin {
            id: id.into(),
            platforms: platforms.collect(),
            init_err: failed.then(Default::default),
            ..Plugin::default()
        }
    }

    #[test]
    fn the_platform_is_the_chosen_snapshotters_or_any_others() {
        let all = [
            plugin("proxy", &[], false),
            plugin("zfs", &[("arm", "v7")], true),
            plugin("overlayfs", &[("arm64", "")], false),
        ]
        .map(snapshotter);
        assert_eq!(matched_with(&all, "overlayfs"), Some(Platform::linux("arm64", "")));
        assert_eq!(matched_with(&all, "proxy"), Some(Platform::linux("arm", "v7")));
        assert_eq!(matched_with(&all, "none"), Some(Platform::linux("arm", "v7")));
        assert_eq!(matched_with(&all[..1], "proxy"), None);
        assert_eq!(all.map(|one| one.usable), [true, false, true]);
    }
}
