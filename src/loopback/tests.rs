use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;

const SMALL: &str = "GET /small HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn refuse(unheard: Unheard) -> Response {
    (unheard.status(), unheard.to_string()).into_response()
}

/// A site of one place, with something small and something that never ends.
fn site() -> Site<fn(Unheard) -> Response> {
    let endless = || async {
        let chunk = Bytes::from(vec![0; 64 * 1024]);
        Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())))
    };
    let router = Router::new().route("/small", get(|| async { "small" })).route("/endless", get(endless));
    Site { router, refuse, places: 1 }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// All that is answered to a text; nothing where it is hung up on.
async fn ask(address: SocketAddr, text: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let mut answer = Vec::new();
    if stream.write_all(text.as_bytes()).await.is_ok() {
        let _ = stream.read_to_end(&mut answer).await;
    }
    String::from_utf8(answer).expect("UTF-8")
}

/// Asks until the place is free again, or for an hour of this test's time.
async fn wait_for_a_place(address: SocketAddr) {
    let served = async {
        while !ask(address, SMALL).await.ends_with("small") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), served).await.expect("the place is given back");
}

#[tokio::test]
async fn who_finds_no_place_is_told_when_to_come_again() {
    let (listener, address) = bind().await;
    // Accepted in this order.
    let first = TcpStream::connect(address).expect("it listens");
    tokio::spawn(serve(listener, site(), std::future::pending()));
    for _ in 0..100 {
        let answer = ask(address, SMALL).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 30\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n") && answer.contains("too many clients"), "{answer}");
    }
    drop(first);
    wait_for_a_place(address).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_loses_its_place() {
    let (listener, address) = bind().await;
    let mut stalled = TcpStream::connect(address).expect("it listens");
    stalled.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("is written");
    tokio::spawn(serve(listener, site(), std::future::pending()));
    wait_for_a_place(address).await;
    let mut taken = Vec::new();
    // What the kernel still had for it, and then the end of the connection.
    let _ = stalled.read_to_end(&mut taken);
    assert!(taken.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_loses_its_place() {
    let (listener, address) = bind().await;
    let silent = TcpStream::connect(address).expect("it listens");
    tokio::spawn(serve(listener, site(), std::future::pending()));
    wait_for_a_place(address).await;
    // One that has asked something and is idle since does, too.
    let mut idle = tokio::net::TcpStream::connect(address).await.expect("it listens");
    idle.write_all(SMALL.replace("connection: close\r\n", "").as_bytes()).await.expect("is written");
    let mut start = [0; 12];
    idle.read_exact(&mut start).await.expect("is answered");
    wait_for_a_place(address).await;
    drop((silent, idle));
}

#[tokio::test]
async fn strangers_are_refused_in_the_words_of_the_site() {
    let (listener, address) = bind().await;
    tokio::spawn(serve(listener, Site { places: 8, ..site() }, std::future::pending()));
    for (text, start, end) in [
        (SMALL.to_owned(), "HTTP/1.1 200 ", "small"),
        (SMALL.replace("localhost", "evil.example"), "HTTP/1.1 421 ", "another name than the request's Host"),
        (SMALL.replace("host: ", "origin: null\r\nhost: "), "HTTP/1.1 403 ", "not for web pages"),
        (SMALL.replace("host: localhost\r\n", ""), "HTTP/1.1 400 ", "no valid Host"),
    ] {
        let answer = ask(address, &text).await;
        assert!(answer.starts_with(start) && answer.ends_with(end), "{text}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_may_end_after_the_stop() {
    let (listener, address) = bind().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut reading = TcpStream::connect(address).expect("it listens");
    reading.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("is written");
    let serving = tokio::spawn(serve(listener, site(), async { drop(stopped.await) }));
    while !ask(address, SMALL).await.starts_with("HTTP/1.1 503 ") {}
    drop(stop);
    // Nobody listens any more.
    while tokio::net::TcpStream::connect(address).await.is_ok() {}
    let mut some = vec![0; 1 << 20];
    reading.read_exact(&mut some).expect("it goes on");
    drop(reading);
    serving.await.expect("it ends with its last client");
}
