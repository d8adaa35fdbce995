//! Messages of our own API, as a daemon or a caller may send them: the same bytes as each of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::core::error::Classify as _;
use lighterman::diagnose::report::Report;
use lighterman::host::Node;
use lighterman::pull::Planned;
use lighterman::pulls::Doubt;
use lighterman::resolve::resolution::Resolution;
use lighterman::service::api::{RemoteFailure, status, v1};
use lighterman_fuzz::heap;
use prost::Message as _;
use tonic::{Code, Status};

fuzz_target!(|data: &[u8]| {
    heap::within(256 * 1024 + 500 * data.len(), || {
        answer(data);
        plan(data);
        report(data);
    });
    doubt(data);
    failure(data);
});

fn answer(data: &[u8]) {
    let Ok(message) = v1::ResolveResponse::decode(data) else { return };
    let Ok(resolution) = Resolution::try_from(message) else { return };
    // What was told on is understood, and would be told in the same words again.
    let told = v1::ResolveResponse::from(&resolution);
    let again = Resolution::try_from(told.clone()).expect("our own message");
    assert_eq!(v1::ResolveResponse::from(&again), told);
}

fn plan(data: &[u8]) {
    let Ok(message) = v1::PullResolved::decode(data) else { return };
    let Ok(planned) = Planned::try_from(message) else { return };
    let told = v1::PullResolved::from(&planned);
    let again = Planned::try_from(told.clone()).expect("our own message");
    assert_eq!(v1::PullResolved::from(&again), told);
}

fn report(data: &[u8]) {
    let Ok(message) = v1::DiagnoseResponse::decode(data) else { return };
    let Ok(report) = Report::try_from(message) else { return };
    let told = v1::DiagnoseResponse::from(&report);
    assert_eq!(Report::try_from(told).expect("our own message"), report);
}

/// What a caller asks; the nodes that he describes are held to what a file is held to.
fn doubt(data: &[u8]) {
    let Ok(message) = v1::DiagnoseRequest::decode(data) else { return };
    let Ok(doubt) = Doubt::try_from(message) else { return };
    assert!(doubt.nodes.len() <= 256 && (doubt.platforms.is_empty() || !doubt.all_platforms));
    for node in &doubt.nodes {
        assert!(!node.name.contains(char::is_control) && node.report.page_size.is_none_or(u64::is_power_of_two));
        assert_eq!(
            Node::reported(&node.name, &serde_json::to_vec(&node.report).expect("is written")).as_ref(),
            Ok(node)
        );
    }
}

/// An error as the details of a status: it never takes the place of the code and cannot be empty.
fn failure(data: &[u8]) {
    let told = Status::with_details(Code::NotFound, "the message", data.to_vec().into());
    check(&RemoteFailure::of(&told));
    if let Ok(message) = v1::Failure::decode(data) {
        check(&RemoteFailure::from(message));
    }
}

fn check(failure: &RemoteFailure) {
    let status = status(failure);
    // It travels in a header, of which clients take 8 KiB.
    assert!(status.details().len() <= 7 * 1024, "{} bytes", status.details().len());
    let again = RemoteFailure::of(&status);
    assert_eq!(again.kind(), failure.kind());
    assert_eq!(again.blame(), failure.blame());
}
