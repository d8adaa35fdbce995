//! Leases: what keeps a pull's content from the garbage collector until names do.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{AddResourceRequest, CreateRequest, DeleteRequest, Resource};
use containerd_client::tonic::Code;
use containerd_client::tonic::transport::Channel;
use prost_types::Timestamp;

use super::Containerd;
use crate::core::digest::Digest;
use crate::core::unique;
use crate::store::{Lease, StoreError};

/// How long a lease outlives a lighterman that was killed; the same as containerd's clients.
const EXPIRES_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The collector ignores a lease from this moment on.
const EXPIRE_LABEL: &str = "containerd.io/gc.expire";

impl Containerd {
    fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel())
    }

    pub(super) async fn create_lease(&self) -> Result<Lease, StoreError> {
        let id = format!("lighterman-{}", unique::name());
        let expires = Timestamp::from(SystemTime::now() + EXPIRES_AFTER);
        let labels = HashMap::from([(EXPIRE_LABEL.to_owned(), expires.to_string())]);
        let request = self.request(CreateRequest { id: id.clone(), labels });
        self.leases().create(request).await.map_err(|status| self.failure("create a lease", &status))?;
        Ok(Lease::new(id))
    }

    /// Does not wait for the collection that containerd starts now. A lease that is gone already is no error.
    pub(super) async fn delete_lease(&self, lease: Lease) -> Result<(), StoreError> {
        let request = self.request(DeleteRequest { id: lease.id, sync: false });
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
            Err(status) => Err(self.failure("add to a lease", &status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_written_as_containerd_reads_it() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(Timestamp::from(moment).to_string(), "2023-11-14T22:13:20Z");
    }
}
