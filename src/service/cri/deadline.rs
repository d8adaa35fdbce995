//! Deadlines of callers.
//!
//! Specification: gRPC over HTTP/2, `grpc-timeout`.

use std::time::Duration;

use tonic::Status;
use tonic::metadata::MetadataMap;

const TIMEOUT: &str = "grpc-timeout";
/// The specification's bound for the number.
const MAX_DIGITS: usize = 8;
/// By so much we are earlier than tonic, which says of a deadline that has passed that the caller
/// cancelled. One tick of tokio's clock would do.
const AHEAD: Duration = Duration::from_millis(5);

/// What comes of `call` before the caller's deadline.
///
/// # Errors
/// Those of `call`, and DEADLINE_EXCEEDED; `call` is dropped then.
pub(super) async fn in_time<T>(
    metadata: &MetadataMap,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match timeout(metadata) {
        None => call.await,
        Some(timeout) => tokio::time::timeout(timeout.saturating_sub(AHEAD), call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("nothing came of it within {timeout:?}")))),
    }
}

/// How long a call may take; `None` where it says nothing, or nothing that can be read.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 60 * 60),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_specification_writes_them() {
        let read = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert(TIMEOUT, text.parse().expect("ASCII"));
            timeout(&metadata)
        };
        let cases = [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("120S", Some(Duration::from_secs(120))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("+1S", None),
            ("1 S", None),
            ("1s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text:?}");
        }
        assert_eq!(timeout(&MetadataMap::new()), None);
    }

    #[tokio::test]
    async fn a_deadline_that_passes_is_told_as_one() {
        let mut metadata = MetadataMap::new();
        metadata.insert(TIMEOUT, "6m".parse().expect("ASCII"));
        let late = in_time(&metadata, std::future::pending::<Result<(), Status>>()).await;
        assert_eq!(late.expect_err("is late").code(), tonic::Code::DeadlineExceeded);
        metadata.insert(TIMEOUT, "1H".parse().expect("ASCII"));
        in_time(&metadata, std::future::ready(Ok(()))).await.expect("is in time");
    }
}
