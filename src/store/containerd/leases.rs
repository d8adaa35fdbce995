//! Leases: what keeps a pull's content from the garbage collector until names do.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{AddResourceRequest, CreateRequest, DeleteRequest, ListRequest, Resource};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Request};
use prost_types::Timestamp;

use super::Containerd;
use super::wire::Namespace;
use crate::core::digest::Digest;
use crate::core::unique;
use crate::store::boot::BOOT;
use crate::store::staging::Mark;
use crate::store::{Lease, Store, StoreError};

/// How long a lease outlives a lighterman that was killed; the same as containerd's clients.
const EXPIRES_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The collector ignores a lease from this moment on.
const EXPIRE_LABEL: &str = "containerd.io/gc.expire";
/// What the names of our leases begin with.
const PREFIX: &str = "lighterman-";
/// On our leases: the boot of the machine that their pull is of. Its process cannot have outlived it.
const BOOT_LABEL: &str = "io.lighterman.boot";

impl Containerd {
    fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel())
    }

    pub(super) async fn create_lease(&self) -> Result<Lease, StoreError> {
        let id = format!("{PREFIX}{}", unique::name());
        let expires = Timestamp::from(SystemTime::now() + EXPIRES_AFTER);
        let expires = (EXPIRE_LABEL.to_owned(), expires.to_string());
        let boot = BOOT.clone().map(|boot| (BOOT_LABEL.to_owned(), boot));
        let labels = std::iter::once(expires).chain(boot).collect();
        let mark = self.mark_lease(&id).await;
        let request = self.request(CreateRequest { id: id.clone(), labels });
        match self.leases().create(request).await {
            Ok(_) => Ok(Lease { mark, ..Lease::new(id) }),
            Err(status) => {
                let failure = self.failure("create a lease", &status);
                // Whoever did not answer may have made it all the same: then the mark is all that tells of it.
                if !matches!(failure, StoreError::Unreachable { .. }) {
                    mark.into_iter().for_each(Mark::remove);
                }
                Err(failure)
            }
        }
    }

    /// Leaves word of a lease in staging, for whoever comes after us should we be killed.
    async fn mark_lease(&self, id: &str) -> Option<Mark> {
        let (staging, text) = (self.staging(), Orphan::text(&self.address, self.namespace(), id));
        match tokio::task::spawn_blocking(move || staging.mark(&text)).await {
            Ok(Ok(mark)) => Some(mark),
            // It expires by itself.
            Ok(Err(error)) => {
                tracing::debug!(%error, "a lease has no mark");
                None
            }
            Err(_) => None,
        }
    }

    /// Ends the leases of processes that were killed.
    pub(super) async fn end_orphans(&self) {
        let (staging, address) = (self.staging(), self.address.clone());
        let orphans = move || staging.orphans(|text| Orphan::read(text, &address).is_some());
        let found = tokio::task::spawn_blocking(orphans).await.unwrap_or_default();
        for (mark, text) in found {
            let Some(orphan) = Orphan::read(&text, &self.address) else { continue };
            let Ok(namespace) = Namespace::parse(orphan.namespace) else { continue };
            let request = namespace.request(None, DeleteRequest { id: orphan.lease.into(), sync: false });
            match self.delete(request).await {
                Ok(()) => {
                    tracing::info!(lease = orphan.lease, "ended the lease of a pull that was killed");
                    mark.remove();
                }
                // The next pull meets it again.
                Err(error) => tracing::warn!(lease = orphan.lease, %error, "the lease of a killed pull stays"),
            }
        }
    }

    /// Ends the leases of pulls that the machine stopped in. The mark of such a lease may have gone
    /// the way of everything that was not on the disk yet; containerd's own records are.
    pub(super) async fn end_leases_of_other_boots(&self) {
        let Some(boot) = BOOT.as_deref() else { return };
        let swept = self.is_swept.get_or_try_init(async || {
            for lease in self.leases_of_other_boots(boot).await? {
                self.delete(self.request(DeleteRequest { id: lease.clone(), sync: false })).await?;
                tracing::info!(lease, "ended the lease of a pull that the machine stopped in");
            }
            Ok::<_, StoreError>(())
        });
        // The next pull tries again.
        if let Err(error) = swept.await {
            tracing::warn!(%error, "leases of pulls that the machine stopped in may stay");
        }
    }

    async fn leases_of_other_boots(&self, boot: &str) -> Result<Vec<String>, StoreError> {
        let request = self.request(ListRequest { filters: vec![format!("id~=\"^{PREFIX}\"")] });
        let listed = self.leases().list(request).await.map_err(|status| self.failure("list leases", &status))?;
        let leases = listed.into_inner().leases.into_iter();
        Ok(leases.filter(|lease| is_of_other_boot(&lease.id, &lease.labels, boot)).map(|lease| lease.id).collect())
    }

    /// Fails where containerd has no such lease any more. As long as it has, the collector has taken
    /// nothing of what the lease keeps.
    pub(super) async fn require(&self, lease: &Lease) -> Result<(), StoreError> {
        let request = self.request(ListRequest { filters: vec![format!("id==\"{}\"", lease.id())] });
        let listed = self.leases().list(request).await.map_err(|status| self.failure("list leases", &status))?;
        if listed.into_inner().leases.is_empty() { Err(StoreError::LeaseGone) } else { Ok(()) }
    }

    /// Does not wait for the collection that containerd starts now. A lease that is gone already is no error.
    pub(super) async fn delete_lease(&self, mut lease: Lease) -> Result<(), StoreError> {
        let mark = lease.mark.take();
        self.delete(self.request(DeleteRequest { id: lease.id, sync: false })).await?;
        mark.into_iter().for_each(Mark::remove);
        Ok(())
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<(), StoreError> {
        match self.leases().delete(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(self.failure("delete a lease", &status)),
        }
    }

    /// Keeps content that is there already.
    pub(super) async fn add_content(&self, lease: &Lease, digest: &Digest) -> Result<(), StoreError> {
        let resource = Resource { id: digest.to_string(), r#type: "content".into() };
        self.add_resource(lease, resource).await
    }

    /// Keeps a snapshot that is there already.
    pub(crate) async fn add_snapshot(&self, lease: &Lease, chain_id: &Digest) -> Result<(), StoreError> {
        let resource = Resource { id: chain_id.to_string(), r#type: format!("snapshots/{}", self.snapshotter()) };
        self.add_resource(lease, resource).await
    }

    async fn add_resource(&self, lease: &Lease, resource: Resource) -> Result<(), StoreError> {
        let request = self.request(AddResourceRequest { id: lease.id().into(), resource: Some(resource) });
        match self.leases().add_resource(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            Err(status) if status.code() == Code::NotFound => Err(StoreError::LeaseGone),
            Err(status) => Err(self.failure("add to a lease", &status)),
        }
    }
}

/// Whether a lease is ours, and its pull of another boot than this one.
fn is_of_other_boot(id: &str, labels: &HashMap<String, String>, boot: &str) -> bool {
    id.starts_with(PREFIX) && labels.get(BOOT_LABEL).is_some_and(|other| other != boot)
}

/// A lease as its mark tells of it: containerd's socket, the namespace and the lease, in lines.
#[derive(Debug, PartialEq, Eq)]
struct Orphan<'a> {
    namespace: &'a str,
    lease: &'a str,
}

impl<'a> Orphan<'a> {
    fn text(address: &Path, namespace: &str, lease: &str) -> String {
        format!("{}\n{namespace}\n{lease}\n", address.display())
    }

    /// `None` for one of another containerd, or what is none of ours.
    fn read(text: &'a str, address: &Path) -> Option<Self> {
        let mut lines = text.lines();
        let (at, namespace, lease) = (lines.next()?, lines.next()?, lines.next()?);
        (at == address.display().to_string() && lease.starts_with(PREFIX)).then_some(Self { namespace, lease })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_its_lease_to_the_same_containerd_only() {
        let (ours, other) = (Path::new("/run/containerd.sock"), Path::new("/run/k3s.sock"));
        let text = Orphan::text(ours, "k8s.io", "lighterman-1");
        assert_eq!(Orphan::read(&text, ours), Some(Orphan { namespace: "k8s.io", lease: "lighterman-1" }));
        assert_eq!(Orphan::read(&text, other), None);
        for text in ["", "/run/containerd.sock\nk8s.io\n", &Orphan::text(ours, "k8s.io", "kubelet's")] {
            assert_eq!(Orphan::read(text, ours), None, "{text:?}");
        }
    }

    #[test]
    fn only_our_own_leases_are_told_to_be_of_another_boot() {
        let of = |boot: &str| HashMap::from([(BOOT_LABEL.to_owned(), boot.to_owned())]);
        assert!(is_of_other_boot("lighterman-1", &of("before"), "this"));
        for (id, labels) in [
            ("lighterman-1", of("this")),
            // Who made it does not tell, and may live.
            ("lighterman-1", HashMap::new()),
            ("kubelet's", of("before")),
        ] {
            assert!(!is_of_other_boot(id, &labels, "this"), "{id} {labels:?}");
        }
    }

    #[test]
    fn expiry_is_written_as_containerd_reads_it() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(Timestamp::from(moment).to_string(), "2023-11-14T22:13:20Z");
    }
}
