//! Image records: what containerd calls an image.
//!
//! Other namespaces than CRI's have one record per image, named by the reference. CRI
//! wants three, and its image ID is the config's digest. It learns of records through
//! containerd's events and looks at the content at once, so they are written last and in
//! its own order.

use std::collections::HashMap;

use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{
    CreateImageRequest, GetImageRequest, Image, ListImagesRequest, UpdateImageRequest,
};
use containerd_client::tonic::Code;
use containerd_client::tonic::transport::Channel;
use containerd_client::types;
use prost_types::FieldMask;

use super::Containerd;
use super::labels::Labels;
use crate::core::descriptor::{Annotations, Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::grpc::MAX_MESSAGE;
use crate::store::error::RemoteCode;
use crate::store::{ImageRecord, Known, Lease, StoreError};

/// The namespace of containerd's CRI plug-in.
const CRI: &str = "k8s.io";
/// CRI marks its records so, and ignores others until it has marked them itself.
const CRI_MANAGED: (&str, &str) = ("io.cri-containerd.image", "managed");
/// On a record that stands for one manifest of an index: which index.
const ROOT: &str = "io.lighterman.root";
/// Keeps that index from the collector, so that the next pull need not fetch it again.
const KEEP_ROOT: &str = "containerd.io/gc.ref.content.root";
/// And the platform that the index declared for the manifest.
const PLATFORM: &str = "io.lighterman.platform";
/// Tries when other writers create and delete the same record meanwhile.
const TRIES: usize = 3;

/// The name that a reference has in a namespace. CRI drops the tag where there is a digest.
fn name_of(namespace: &str, reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) if namespace == CRI => reference.with_digest(digest.clone()).to_string(),
        _ => reference.to_string(),
    }
}

/// Names of all records of an image, in the order in which they become visible.
fn names_of(namespace: &str, record: &ImageRecord, target: &Descriptor) -> Vec<String> {
    let name = name_of(namespace, &record.reference);
    if namespace != CRI {
        return vec![name];
    }
    let id = record.config.as_ref().map(ToString::to_string);
    let by_digest = record.reference.with_digest(target.digest.clone()).to_string();
    let mut names: Vec<String> = id.into_iter().chain([name]).collect();
    if !names.contains(&by_digest) {
        names.push(by_digest);
    }
    names
}

fn target_of(record: &ImageRecord) -> &Descriptor {
    record.manifest.as_ref().filter(|_| record.pin_manifest).unwrap_or(&record.root)
}

/// Labels of a record. An empty value removes what an earlier pull left there.
fn labels_of(namespace: &str, record: &ImageRecord) -> Labels {
    let mut labels = Labels::new();
    if namespace == CRI {
        labels.insert(CRI_MANAGED.0.into(), CRI_MANAGED.1.into());
    }
    let pinned = record.manifest.as_ref().filter(|_| record.pin_manifest);
    let root = pinned.filter(|manifest| manifest.digest != record.root.digest).map(|_| record.root.digest.to_string());
    let platform = pinned.and_then(|manifest| manifest.platform.as_ref()).map(ToString::to_string);
    let root = root.unwrap_or_default();
    labels.insert(KEEP_ROOT.into(), root.clone());
    labels.insert(ROOT.into(), root);
    labels.insert(PLATFORM.into(), platform.unwrap_or_default());
    labels
}

/// Every record to write.
fn records(namespace: &str, record: &ImageRecord) -> Vec<Image> {
    let target = target_of(record);
    let labels: HashMap<String, String> = labels_of(namespace, record).into_iter().collect();
    let image = |name| Image {
        name,
        labels: labels.clone(),
        target: Some(types::Descriptor {
            media_type: target.media_type.to_string(),
            digest: target.digest.to_string(),
            size: i64::try_from(target.size).unwrap_or(i64::MAX),
            annotations: HashMap::new(),
        }),
        ..Image::default()
    };
    names_of(namespace, record, target).into_iter().map(image).collect()
}

/// Whether the record that is there says all that the new one would.
fn says_the_same(there: &Image, new: &Image) -> bool {
    let target = |image: &Image| image.target.as_ref().map(|target| (target.digest.clone(), target.media_type.clone()));
    let label = |image: &Image, key: &str| image.labels.get(key).cloned().unwrap_or_default();
    target(there) == target(new) && new.labels.keys().all(|key| label(there, key) == label(new, key))
}

/// A record as we show it; the reason where it cannot be one.
fn known(image: Image) -> Result<Known, String> {
    let target = image.target.ok_or("the record has no target")?;
    let digest = target.digest.parse().map_err(|error| format!("{error}"))?;
    let size = u64::try_from(target.size).map_err(|_| format!("its size is {}", target.size))?;
    let mut descriptor = Descriptor::new(MediaType::parse(&target.media_type), digest, size);
    descriptor.annotations = target.annotations.into_iter().collect::<Annotations>();
    let root = image.labels.get(ROOT).and_then(|text| text.parse().ok());
    let platform = image.labels.get(PLATFORM).and_then(|text| Platform::parse(text, &Platform::default()).ok());
    Ok(Known { target: descriptor, root, platform })
}

impl Containerd {
    fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(super) async fn write_records(&self, lease: &Lease, record: &ImageRecord) -> Result<(), StoreError> {
        for image in records(self.namespace(), record) {
            self.write_image(lease, image).await?;
        }
        Ok(())
    }

    /// Whether [`Containerd::write_records`] would change nothing.
    pub(super) async fn has_records(&self, record: &ImageRecord) -> Result<bool, StoreError> {
        for image in records(self.namespace(), record) {
            match self.image(&image.name).await? {
                Some(there) if says_the_same(&there, &image) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn write_image(&self, lease: &Lease, image: Image) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            if self.create_image(lease, &image).await? {
                return Ok(());
            }
            // No update where nothing changes: every one is an event that CRI works on.
            match self.image(&image.name).await? {
                Some(there) if says_the_same(&there, &image) => return Ok(()),
                Some(_) if self.update_image(lease, &image).await? => return Ok(()),
                Some(_) | None => {}
            }
        }
        let message = format!("{:?} was created and deleted by others {TRIES} times meanwhile", image.name);
        Err(StoreError::Containerd { action: "name the image", message, code: RemoteCode::Other })
    }

    /// `false` where the name exists.
    async fn create_image(&self, lease: &Lease, image: &Image) -> Result<bool, StoreError> {
        let mut new = image.clone();
        new.labels.retain(|_, value| !value.is_empty());
        let request = self.leased(lease, CreateImageRequest { image: Some(new), ..CreateImageRequest::default() })?;
        match self.images().create(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::AlreadyExists => Ok(false),
            Err(status) => Err(self.failure("name the image", &status)),
        }
    }

    /// `false` where the name is gone. Labels of others stay.
    async fn update_image(&self, lease: &Lease, image: &Image) -> Result<bool, StoreError> {
        let labels = image.labels.keys().map(|key| format!("labels.{key}"));
        let paths = ["target".to_owned()].into_iter().chain(labels).collect();
        let update = UpdateImageRequest {
            image: Some(image.clone()),
            update_mask: Some(FieldMask { paths }),
            ..UpdateImageRequest::default()
        };
        match self.images().update(self.leased(lease, update)?).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(self.failure("name the image", &status)),
        }
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, StoreError> {
        match self.images().get(self.request(GetImageRequest { name: name.into() })).await {
            Ok(reply) => Ok(reply.into_inner().image),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.failure("look an image up", &status)),
        }
    }

    pub(super) async fn read_record(&self, name: &str) -> Result<Option<Known>, StoreError> {
        // Kubernetes' names are references that were normalised once more.
        let normal = name.parse::<Reference>().map(|reference| name_of(self.namespace(), &reference));
        let name = normal.unwrap_or_else(|_| name.to_owned());
        let Some(image) = self.image(&name).await? else { return Ok(None) };
        let unusable = |reason| StoreError::Containerd {
            action: "look an image up",
            message: format!("the record {name:?} cannot be used: {reason}"),
            code: RemoteCode::Other,
        };
        known(image).map(Some).map_err(unusable)
    }

    pub(super) async fn record_names(&self) -> Result<Vec<String>, StoreError> {
        let reply = self.images().list(self.request(ListImagesRequest::default())).await;
        let images = reply.map_err(|status| self.failure("list images", &status))?.into_inner().images;
        // CRI keeps a second record of each image under its ID, which is no name that anybody pulled.
        let is_name = |name: &String| name.parse::<Digest>().is_err();
        let mut names: Vec<String> = images.into_iter().map(|image| image.name).filter(is_name).collect();
        names.sort_unstable();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::digest::Digest;

    fn record(reference: &str, pin_manifest: bool) -> ImageRecord {
        let mut manifest = Descriptor::new(MediaType::OciManifest, Digest::of(b"manifest"), 7);
        manifest.platform = Some(Platform::linux("amd64", "v3"));
        ImageRecord {
            reference: reference.parse().expect("well formed"),
            root: Descriptor::new(MediaType::OciIndex, Digest::of(b"index"), 9),
            manifest: Some(manifest),
            config: Some(Digest::of(b"config")),
            pin_manifest,
        }
    }

    fn names(namespace: &str, record: &ImageRecord) -> Vec<String> {
        records(namespace, record).into_iter().map(|image| image.name).collect()
    }

    #[test]
    fn one_record_outside_of_cri() {
        let digest = Digest::of(b"index");
        for reference in
            ["quay.io/a/b:v1".to_owned(), format!("quay.io/a/b@{digest}"), format!("quay.io/a/b:v1@{digest}")]
        {
            assert_eq!(names("default", &record(&reference, false)), [reference]);
        }
    }

    #[test]
    fn three_records_in_cris_order() {
        let (id, index, manifest) = (Digest::of(b"config"), Digest::of(b"index"), Digest::of(b"manifest"));
        let (by_index, by_manifest) = (format!("quay.io/a@{index}"), format!("quay.io/a@{manifest}"));
        let id = id.to_string();
        let cases: [(&str, bool, &[&str]); 5] = [
            ("quay.io/a:v1", false, &[&id, "quay.io/a:v1", &by_index]),
            ("quay.io/a:v1", true, &[&id, "quay.io/a:v1", &by_manifest]),
            (&by_index, false, &[&id, &by_index]),
            (&format!("quay.io/a:v1@{index}"), false, &[&id, &by_index]),
            (&by_index, true, &[&id, &by_index, &by_manifest]),
        ];
        for (reference, pin, expected) in cases {
            assert_eq!(names(CRI, &record(reference, pin)), expected, "{reference} {pin}");
        }
        let several = ImageRecord { config: None, ..record("quay.io/a:v1", false) };
        assert_eq!(names(CRI, &several), ["quay.io/a:v1", &by_index]);
    }

    #[test]
    fn a_record_reads_back_as_what_was_written() {
        for namespace in ["default", CRI] {
            let image = records(namespace, &record("quay.io/a:v1", false)).remove(0);
            let managed = image.labels.get(CRI_MANAGED.0).map(String::as_str);
            assert_eq!(managed, (namespace == CRI).then_some("managed"));
            let read = known(image).expect("reads");
            let index = Descriptor::new(MediaType::OciIndex, Digest::of(b"index"), 9);
            assert_eq!(read, Known { target: index, root: None, platform: None });

            let pinned = known(records(namespace, &record("quay.io/a:v1", true)).remove(0)).expect("reads");
            assert_eq!(pinned.target, Descriptor::new(MediaType::OciManifest, Digest::of(b"manifest"), 7));
            assert_eq!(pinned.root, Some(Digest::of(b"index")));
            assert_eq!(pinned.platform, Some(Platform::linux("amd64", "v3")));
        }
    }

    #[test]
    fn a_lone_manifest_has_no_root_of_its_own() {
        let mut lone = record("quay.io/a:v1", true);
        lone.root = lone.manifest.clone().expect("has one");
        assert_eq!(known(records("default", &lone).remove(0)).expect("reads").root, None);
    }

    #[test]
    fn records_of_others_are_read_with_care() {
        let target = |digest: &str, size| {
            Some(types::Descriptor { digest: digest.into(), size, ..types::Descriptor::default() })
        };
        let good = Digest::of(b"x").to_string();
        for target in [None, target("", 1), target("sha256:12", 1), target(&good, -1)] {
            assert!(known(Image { target, ..Image::default() }).is_err());
        }
        assert!(known(Image { target: target(&good, 1), ..Image::default() }).is_ok());
    }

    #[test]
    fn nothing_is_written_where_nothing_changes() {
        let new = records(CRI, &record("quay.io/a:v1", false)).remove(1);
        let mut there = new.clone();
        there.labels.retain(|_, value| !value.is_empty());
        there.labels.insert("io.cri-containerd.pinned".into(), "pinned".into());
        assert!(says_the_same(&there, &new));
        assert!(!says_the_same(&there, &records(CRI, &record("quay.io/a:v1", true)).remove(1)));
        there.labels.insert(ROOT.into(), "stale".into());
        assert!(!says_the_same(&there, &new));
        assert!(!says_the_same(&Image::default(), &new));
    }
}
