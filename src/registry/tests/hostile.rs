//! Heads of replies that no honest server sends: over a real socket, byte by byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::support::{host, reference_at};
use crate::core::error::{Classify as _, Kind};
use crate::core::limits::Limits;
use crate::registry::{Client, Credentials, HostOptions, RegistryError};

/// How long a client waits for a head here.
const PATIENCE: Duration = Duration::from_millis(300);

/// Asks a server that answers everybody with `head`, and then goes on with `more` until its client has left.
async fn ask(head: impl Into<Vec<u8>>, more: Option<&'static [u8]>, pause: Duration) -> Result<(), RegistryError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let reference = reference_at(&listener.local_addr().expect("an address").to_string());
    let head = head.into();
    let server: JoinHandle<()> = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Whatever fails here, the client has left.
            if stream.read(&mut [0; 4096]).await.is_err() || stream.write_all(&head).await.is_err() {
                continue;
            }
            while let Some(more) = more
                && stream.write_all(more).await.is_ok()
            {
                tokio::time::sleep(pause).await;
            }
        }
    });
    let client = Client::new(Credentials::anonymous(), Limits::default()).expect("a client").patient(PATIENCE);
    let host = host(&reference, &HostOptions { plain_http: true, ..HostOptions::default() });
    let result = client.manifest(&host, &reference, "latest").await;
    server.abort();
    result.map(drop)
}

#[tokio::test]
async fn giant_heads_are_refused() {
    let many = "x-header: y\r\n".repeat(1000);
    let long = format!("x-header: {}\r\n", "y".repeat(1 << 20));
    let name = format!("{}: y\r\n", "x".repeat(1 << 20));
    let links = format!("link: <{}>; rel=\"next\"\r\n", "/v2/".repeat(1 << 18));
    for headers in [many, long, name, links] {
        let told = &headers[..20];
        let error = ask(format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n"), None, PATIENCE).await;
        let error = error.expect_err(told);
        assert_eq!(error.kind(), Kind::RegistryUnavailable, "{told}: {error}");
        assert!(error.to_string().len() < 1000, "{told}: the message repeats it");
    }
}

#[tokio::test]
async fn many_and_giant_challenges_are_not_read() {
    let many = "www-authenticate: Digest realm=x\r\n".repeat(90);
    let giant = format!("www-authenticate: Bearer realm=\"https://auth.example/{}\"\r\n", "x".repeat(100_000));
    for headers in [many, giant] {
        let told = &headers[..40];
        let head = format!("HTTP/1.1 401 Unauthorized\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n");
        let error = ask(head, Some(b""), PATIENCE).await.expect_err(told);
        assert!(error.to_string().contains("neither Basic nor Bearer"), "{told}: {error}");
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up_however_much_of_it_comes() {
    let tick = Duration::from_millis(5);
    let heads: [(&str, &[u8]); 4] = [
        // A byte at a time, header after header, and interim replies (RFC 9110, section 15.2).
        ("HTTP/1.1 200 OK\r\nx-header: ", b"y"),
        ("HTTP/1.1 200 OK\r\n", b"x-header: y\r\n"),
        ("", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
        ("", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ];
    for (head, more) in heads {
        let error = ask(head, Some(more), tick).await.expect_err(head);
        assert!(matches!(error.kind(), Kind::DeadlineExceeded | Kind::RegistryUnavailable), "{head}: {error}");
    }
}
