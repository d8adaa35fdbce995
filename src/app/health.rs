//! Health by gRPC: every service under its name, and the daemon under the empty one.
//!
//! The daemon and our own API are healthy until they are told to stop: without containerd, the
//! API still says what a reference stands for, and its pulls say what is missing. What
//! containerd's clients ask for cannot be had without containerd, so those services are healthy
//! only while it answers.
//!
//! Specification: grpc.health.v1, which containerd itself serves as well.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::grpc::channel;
use crate::service::cri::Raw;

/// Between two looks whether containerd answers.
const LOOK: Duration = Duration::from_secs(2);
/// How long it may take to answer. Alive, it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whom a service needs: whoever answers this question, an empty message, at this socket.
#[derive(Debug)]
pub(super) struct Need {
    socket: PathBuf,
    question: &'static str,
}

impl Need {
    /// A containerd.
    pub(super) fn containerd(socket: PathBuf) -> Self {
        Self { socket, question: "/grpc.health.v1.Health/Check" }
    }

    /// Its CRI, which may be disabled, and comes later than the rest of it.
    pub(super) fn cri(socket: PathBuf) -> Self {
        Self { socket, question: "/runtime.v1.RuntimeService/Version" }
    }
}

/// The health service for services that are `alone` and for those that need somebody, and the tasks
/// that keep it true. After `stop` nothing is healthy any more.
pub(super) async fn report(
    alone: Vec<&'static str>,
    needing: Vec<(&'static str, Need)>,
    stop: CancellationToken,
) -> (HealthServer<impl Health>, JoinSet<()>) {
    let (reporter, server) = health_reporter();
    let mut reporting = JoinSet::new();
    let alone = alone.into_iter().chain([""]).map(|service| (service, None));
    for (service, need) in alone.chain(needing.into_iter().map(|(service, need)| (service, Some(need)))) {
        // From the start on there is an answer for every name.
        let first = if need.is_none() { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status(service, first).await;
        let (reporter, stop) = (reporter.clone(), stop.clone());
        reporting.spawn(async move {
            let following = async {
                match need {
                    Some(need) => follow(&reporter, service, &need).await,
                    None => std::future::pending().await,
                }
            };
            stop.run_until_cancelled(following).await;
            reporter.set_service_status(service, ServingStatus::NotServing).await;
        });
    }
    (server, reporting)
}

/// Reports a service as healthy while whom it needs answers.
async fn follow(reporter: &HealthReporter, service: &str, need: &Need) {
    let channel = channel(&need.socket, || {});
    let mut healthy = false;
    loop {
        let answer = tokio::time::timeout(PATIENCE, ask(&channel, need.question)).await;
        let answers = matches!(answer, Ok(Ok(_)));
        if answers != healthy {
            let status = if answers { ServingStatus::Serving } else { ServingStatus::NotServing };
            tracing::info!(service, socket = %need.socket.display(), "{status}");
            reporter.set_service_status(service, status).await;
            healthy = answers;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask(channel: &Channel, question: &'static str) -> Result<Bytes, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let answer = grpc.unary(Request::new(Bytes::new()), PathAndQuery::from_static(question), Raw).await?;
    Ok(answer.into_inner())
}
