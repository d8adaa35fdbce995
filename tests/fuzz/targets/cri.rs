//! What kubelet asks for: the input is a PullImageRequest.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lighterman::core::reference::Reference;
use lighterman::core::text::steers;
use lighterman::service::cri::request::{Work, read};
use lighterman_fuzz::heap;
use tonic::Request;

fuzz_target!(|data: &[u8]| {
    let request = Request::new(Bytes::copy_from_slice(data));
    let work = heap::within(256 * 1024 + 200 * data.len(), || read(&request));
    match &work {
        Work::Ours(order) | Work::Shared(order) => {
            // Without any it would be the node's own.
            assert!(order.credentials.is_some());
            assert_eq!(order.place.namespace.as_deref(), Some("k8s.io"));
            assert!(order.platforms.is_empty() && !order.all_platforms && order.unpack);
            let again: Reference = order.reference.to_string().parse().expect("our own words");
            assert_eq!(again, order.reference);
        }
        Work::Nobodys(_, error) => {
            let told = error.to_string();
            assert!(!told.is_empty() && !told.contains(steers), "{told:?}");
        }
        Work::Runtimes(reason) => assert!(!reason.is_empty()),
    }
});
