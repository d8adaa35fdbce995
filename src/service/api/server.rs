//! The API's server side.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::events::Telling;
use super::failure::{message_of, status};
use super::request::{BadRequest, check_platforms};
use super::v1::lighterman_server::{Lighterman, LightermanServer};
use super::{convert, v1};
use crate::core::mismatch::{Action, Asked};
use crate::core::reference::{Reference, ReferenceError};
use crate::core::trace::TraceContext;
use crate::grpc::MAX_MESSAGE;
use crate::pulls::{Door, Doubt, Order, Place, Pulls, Question};
use crate::resolve::choice::Level;

/// Events that wait for a client that reads slowly; the rest it misses.
const EVENTS: usize = 1024;

/// Answers with what `pulls` does.
#[must_use]
pub fn server(pulls: Pulls) -> LightermanServer<impl Lighterman> {
    LightermanServer::new(Api { pulls }).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

#[derive(Debug)]
struct Api {
    pulls: Pulls,
}

fn refused(error: impl Into<BadRequest>) -> Status {
    status(&error.into())
}

fn reference(text: &str) -> Result<Reference, Status> {
    text.parse().map_err(|error: ReferenceError| refused(error))
}

fn level(isa_level: bool) -> Level {
    if isa_level { Level::Cpu } else { Level::Containerd }
}

fn on_mismatch(allow: bool) -> Asked {
    if allow { Asked::User(Action::Allow) } else { Asked::Nobody }
}

fn named(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// What the caller's request is part of, by W3C Trace Context.
fn trace(metadata: &MetadataMap) -> Option<TraceContext> {
    TraceContext::parse(metadata.get("traceparent")?.to_str().ok()?)
}

fn order(request: Request<v1::PullRequest>) -> Result<Order, Status> {
    let trace = trace(request.metadata());
    let request = request.into_inner();
    check_platforms(request.all_platforms, &request.platforms).map_err(refused)?;
    Ok(Order {
        reference: reference(&request.reference)?,
        platforms: request.platforms,
        all_platforms: request.all_platforms,
        level: level(request.isa_level),
        on_mismatch: on_mismatch(request.allow_mismatch),
        place: Place { namespace: named(request.namespace), snapshotter: named(request.snapshotter) },
        unpack: !request.no_unpack,
        credentials: convert::credentials(request.credentials),
        door: Door::Api,
        trace,
    })
}

#[tonic::async_trait]
impl Lighterman for Api {
    async fn get_host(&self, _: Request<v1::GetHostRequest>) -> Result<Response<v1::GetHostResponse>, Status> {
        let pulls = self.pulls.clone();
        let host = pulls.host().await;
        let report = host.complete();
        Ok(Response::new(v1::GetHostResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            matches: report.matching_platform().to_string(),
            cpu: report.isa_platform().to_string(),
            report_json: serde_json::to_string(report).map_err(|error| Status::internal(error.to_string()))?,
        }))
    }

    async fn resolve(&self, request: Request<v1::ResolveRequest>) -> Result<Response<v1::ResolveResponse>, Status> {
        let request = request.into_inner();
        let question = Question {
            reference: reference(&request.reference)?,
            platform: named(request.platform),
            level: level(request.isa_level),
            on_mismatch: on_mismatch(request.allow_mismatch),
            explain: request.explain,
            credentials: convert::credentials(request.credentials),
        };
        let (resolution, refusal) = self.pulls.resolve(&question).await.map_err(|error| status(&error))?;
        let refusal = match refusal {
            Some(refusal) if !question.explain => return Err(status(&refusal)),
            refusal => refusal.map(|refusal| message_of(&refusal)),
        };
        Ok(Response::new(v1::ResolveResponse { refusal, ..(&resolution).into() }))
    }

    async fn diagnose(&self, request: Request<v1::DiagnoseRequest>) -> Result<Response<v1::DiagnoseResponse>, Status> {
        let doubt = Doubt::try_from(request.into_inner()).map_err(refused)?;
        let report = Box::pin(self.pulls.diagnose(doubt)).await.map_err(|error| status(&error))?;
        Ok(Response::new((&report).into()))
    }

    type PullStream = ReceiverStream<Result<v1::PullEvent, Status>>;

    async fn pull(&self, request: Request<v1::PullRequest>) -> Result<Response<Self::PullStream>, Status> {
        let order = order(request)?;
        let (to, from) = mpsc::channel(EVENTS);
        let pulls = self.pulls.clone();
        let pulling = async move {
            let listener = Arc::new(Telling::new(to.clone()));
            let outcome = tokio::select! {
                outcome = pulls.pull(order, listener, CancellationToken::new()) => outcome,
                // The client went away; dropping the pull cancels it.
                () = to.closed() => return,
            };
            let last = match outcome {
                Ok(done) => {
                    let event = v1::pull_event::Event::Pulled((&done).into());
                    Ok(v1::PullEvent { event: Some(event) })
                }
                Err(error) => Err(status(&error)),
            };
            // Nobody may be there any more to hear of it.
            let _ = to.send(last).await;
        };
        tokio::spawn(pulling.in_current_span());
        Ok(Response::new(ReceiverStream::new(from)))
    }

    async fn list_pulls(&self, _: Request<v1::ListPullsRequest>) -> Result<Response<v1::ListPullsResponse>, Status> {
        let pulls = self.pulls.running().iter().map(Into::into).collect();
        Ok(Response::new(v1::ListPullsResponse { pulls }))
    }

    async fn cancel_pull(
        &self,
        request: Request<v1::CancelPullRequest>,
    ) -> Result<Response<v1::CancelPullResponse>, Status> {
        let id = request.into_inner().id;
        match self.pulls.cancel(id) {
            true => Ok(Response::new(v1::CancelPullResponse {})),
            false => Err(refused(BadRequest::NoSuchPull(id))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_keeps_the_trace_that_it_is_part_of() {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (sent, expected) in [(traceparent, Some(traceparent)), ("00-4bf9", None)] {
            let mut request = Request::new(v1::PullRequest { reference: "busybox".into(), ..Default::default() });
            request.metadata_mut().insert("traceparent", sent.parse().expect("a header"));
            let order = order(request).expect("an order");
            assert_eq!(order.trace.map(|trace| trace.to_string()).as_deref(), expected);
        }
    }
}
