//! Answers that are counted when they end, by how they ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use hyper::body::{Frame, SizeHint};

use super::meter::{Asked, Meter, Outcome, Source};

/// Counts an answer, and its bytes where it names a [`Source`] in its extensions.
pub(super) fn counted(response: Response, asked: Asked, meter: Arc<dyn Meter>) -> Response {
    let (head, body) = response.into_parts();
    let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let length = if body.is_end_stream() { 0 } else { length.unwrap_or_default() };
    let (end, source) = (Outcome::of(head.status), head.extensions.get::<Source>().copied());
    let counted = Counted { body, asked, source, left: length, end, meter };
    Response::from_parts(head, Body::new(counted))
}

/// A body that says how it ended when it is dropped.
struct Counted {
    body: Body,
    asked: Asked,
    source: Option<Source>,
    /// Bytes that were announced and not given away yet.
    left: u64,
    /// How it ends where nothing is left.
    end: Outcome,
    meter: Arc<dyn Meter>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.saturating_sub(bytes);
                if let Some(source) = self.source {
                    self.meter.sent(source, bytes);
                }
            }
            Some(Err(_)) => (self.left, self.end) = (0, Outcome::Broken),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meter.answered(self.asked, if self.left == 0 { self.end } else { Outcome::Abandoned });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::io;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Heard(Mutex<(Vec<Outcome>, u64)>);

    impl Meter for Heard {
        fn answered(&self, asked: Asked, outcome: Outcome) {
            assert_eq!(asked, Asked::Blob);
            self.0.lock().expect("no panic").0.push(outcome);
        }

        fn sent(&self, source: Source, bytes: u64) {
            assert_eq!(source, Source::Cache);
            self.0.lock().expect("no panic").1 += bytes;
        }
    }

    /// What is heard of an answer of so many chunks of ten bytes, of which so many are taken.
    async fn heard(status: StatusCode, chunks: Vec<io::Result<&'static str>>, taken: usize) -> (Vec<Outcome>, u64) {
        let length = chunks.len() * 10;
        let mut response = Response::new(Body::from_stream(futures_util::stream::iter(chunks)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        response.extensions_mut().insert(Source::Cache);
        let heard = Arc::<Heard>::default();
        let mut body = counted(response, Asked::Blob, heard.clone()).into_body();
        for _ in 0..taken {
            // What breaks is seen by the count.
            let _ = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        }
        assert!(heard.0.lock().expect("no panic").0.is_empty(), "it has not ended");
        drop(body);
        heard.0.lock().expect("no panic").clone()
    }

    #[tokio::test]
    async fn answers_are_counted_by_how_they_end() {
        let chunk = || Ok("0123456789");
        let broken = || Err(io::Error::other("upstream is gone"));
        for (status, chunks, taken, expected) in [
            // hyper stops asking when it has as much as was announced.
            (StatusCode::OK, vec![chunk(), chunk()], 2, (Outcome::Done, 20)),
            (StatusCode::OK, vec![chunk(), chunk()], 3, (Outcome::Done, 20)),
            (StatusCode::PARTIAL_CONTENT, vec![], 0, (Outcome::Done, 0)),
            (StatusCode::OK, vec![chunk(), chunk()], 1, (Outcome::Abandoned, 10)),
            (StatusCode::OK, vec![chunk(), broken()], 2, (Outcome::Broken, 10)),
            (StatusCode::NOT_FOUND, vec![chunk()], 1, (Outcome::Unknown, 10)),
        ] {
            let found = heard(status, chunks, taken).await;
            assert_eq!(found, (vec![expected.0], expected.1), "{status} {taken}");
        }
    }
}
