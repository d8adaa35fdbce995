mod exposition;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{Request, StatusCode, header};
use tower::ServiceExt as _;

use super::*;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::Kind;
use crate::core::limits::Limits;
use crate::core::mismatch::{Action, Mismatch};
use crate::core::platform::Platform;
use crate::cpu::Cpu;
use crate::fetch::progress::Event;
use crate::registry::{Client, Credentials};
use exposition::Exposition;

async fn get(metrics: &Metrics, path: &str) -> (StatusCode, String, String) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = router(metrics).oneshot(request).await.expect("answers");
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, kind) = (response.status(), kind.to_owned());
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a short body");
    (status, kind, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

async fn scrape(metrics: &Metrics) -> Exposition {
    let (status, kind, body) = get(metrics, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    Exposition::parse(&body).unwrap_or_else(|error| panic!("{error} in\n{body}"))
}

fn engine() -> Engine {
    let limits = Limits::default();
    Engine::new(Client::new(Credentials::default(), limits).expect("a client"), Cpu::new(), limits)
}

#[tokio::test]
async fn what_nobody_has_used_yet_is_a_valid_exposition() {
    let metrics = Metrics::default();
    let page = scrape(&metrics).await;
    for door in ["api", "cri"] {
        assert_eq!(page.value("lighterman_pulls_in_flight", &[("door", door)]), Some(0.0));
    }
    for phase in ["resolve", "fetch", "unpack", "name", "whole"] {
        assert_eq!(page.value("lighterman_pull_phase_duration_seconds_count", &[("phase", phase)]), Some(0.0));
    }
    assert_eq!(page.value("lighterman_content_bytes_total", &[("source", "registry")]), Some(0.0));
    assert_eq!(page.value("lighterman_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
}

#[tokio::test]
async fn pulls_are_counted_while_they_run_and_by_how_they_end() {
    let metrics = Metrics::default();
    let (done, failed, dropped) = (metrics.begin(Door::Api), metrics.begin(Door::Cri), metrics.begin(Door::Api));
    let blob = Descriptor::new(MediaType::OciConfig, Digest::of(b"config"), 500);
    done.notify(Event::Began(Phase::Resolve));
    done.notify(Event::Ended { phase: Phase::Resolve, elapsed: Duration::from_millis(30) });
    done.notify(Event::Present(&blob));
    let page = scrape(&metrics).await;
    assert_eq!(page.value("lighterman_pulls_in_flight", &[("door", "api")]), Some(2.0));
    assert_eq!(page.value("lighterman_content_bytes_total", &[("source", "local")]), Some(500.0));
    let bucket = |page: &Exposition, le: &str| {
        page.value("lighterman_pull_phase_duration_seconds_bucket", &[("le", le), ("phase", "resolve")])
    };
    assert_eq!(
        (bucket(&page, "0.025"), bucket(&page, "0.05"), bucket(&page, "+Inf")),
        (Some(0.0), Some(1.0), Some(1.0))
    );

    done.end(None);
    failed.end(Some(Kind::NoMatchingPlatform));
    drop((done, failed, dropped));
    let page = scrape(&metrics).await;
    let ended = |door, outcome| page.value("lighterman_pulls_total", &[("door", door), ("outcome", outcome)]);
    assert_eq!(
        (ended("api", "done"), ended("api", "cancelled"), ended("cri", "no-matching-platform")),
        (Some(1.0), Some(1.0), Some(1.0))
    );
    assert_eq!(page.value("lighterman_pulls_in_flight", &[("door", "api")]), Some(0.0));
    assert_eq!(page.value("lighterman_pull_phase_duration_seconds_count", &[("phase", "whole")]), Some(3.0));
    assert_eq!(page.value("lighterman_mismatches_total", &[("what", "platform")]), Some(1.0));
}

#[tokio::test]
async fn mismatches_are_counted_by_what_was_found_and_done() {
    let metrics = Metrics::default();
    let pull = metrics.begin(Door::Cri);
    let mismatch = |id: &str, action| Mismatch {
        id: id.into(),
        action,
        image: "app:1".into(),
        platform: Platform::linux("amd64", ""),
        node: "quay".into(),
        message: String::new(),
    };
    for (id, action) in [("PLAT-004", Action::Warn), ("PLAT-004", Action::Refuse), ("PLAT-004", Action::Warn)] {
        pull.notify(Event::Mismatch(&mismatch(id, action)));
    }
    // No label is ever made of what a stranger says.
    pull.notify(Event::Mismatch(&mismatch("OTHER-1", Action::Warn)));
    let page = scrape(&metrics).await;
    let counted = |action| page.value("lighterman_arch_mismatches_total", &[("id", "PLAT-004"), ("action", action)]);
    assert_eq!((counted("warn"), counted("refuse"), counted("allow")), (Some(2.0), Some(1.0), None));
    assert_eq!(page.value("lighterman_arch_mismatches_total", &[("id", "OTHER-1"), ("action", "warn")]), None);
}

#[tokio::test]
async fn the_engine_and_the_staging_directories_are_asked() {
    let metrics = Metrics::default();
    let engine = engine();
    metrics.watch_engine(&engine);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let staging = Staging::new(dir.path().into());
    metrics.stages(&staging);
    metrics.stages(&staging);
    std::fs::write(dir.path().join("anything"), vec![1; 10_000]).expect("a writable folder");
    let held = engine.budget().reserve(1 << 20).await;
    let tasks: Vec<_> = (0..3).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
    let page = scrape(&metrics).await;
    let value = |name| page.value(name, &[]).unwrap_or_else(|| panic!("there is no {name}"));
    assert_eq!(value("lighterman_memory_used_bytes"), f64::from(1 << 20));
    assert_eq!(value("lighterman_memory_budget_bytes"), f64::from(Limits::default().buffer_bytes));
    assert!(value("lighterman_tasks") >= 3.0);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let staged = value("lighterman_staging_bytes");
    assert!((10_000.0..20_000.0).contains(&staged), "{staged} bytes, once and in blocks");
    drop(held);
    assert_eq!(scrape(&metrics).await.value("lighterman_memory_used_bytes", &[]), Some(0.0));
}

#[tokio::test]
async fn what_the_mirror_does_is_counted() {
    let metrics = Metrics::default();
    metrics.mirror_answered("blob", "done");
    metrics.mirror_answered("blob", "done");
    metrics.mirror_answered("manifest", "unknown");
    metrics.mirror_sent("cache", 700);
    metrics.mirror_sent("cache", 300);
    let page = scrape(&metrics).await;
    let requests = |kind, result| page.value("lighterman_mirror_requests_total", &[("kind", kind), ("result", result)]);
    assert_eq!((requests("blob", "done"), requests("manifest", "unknown")), (Some(2.0), Some(1.0)));
    assert_eq!(page.value("lighterman_mirror_content_bytes_total", &[("source", "cache")]), Some(1000.0));
}

#[tokio::test]
async fn other_paths_are_not_there() {
    let metrics = Metrics::default();
    let (status, kind, body) = get(&metrics, "/healthz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
    assert!(kind.starts_with("text/plain"), "{kind}");
    assert_eq!(get(&metrics, "/").await.0, StatusCode::NOT_FOUND);
}
