//! Short questions to sockets: is there anybody, and what do they say first.
//!
//! They are asked by hand, since the answer that is wanted is often the kernel's, which
//! clients hide: nobody listens, or this user may not.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// What is alive on this machine answers in milliseconds, a registry in a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// The head of an HTTP reply is smaller.
const MAX_HEAD: u64 = 16 * 1024;
/// RFC 9113, 3.4: what a client says first, and empty SETTINGS.
const HTTP2_GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The type of a SETTINGS frame, the fourth byte of what a server says first.
const SETTINGS: u8 = 4;

/// How somebody answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As they should.
    Well,
    /// There is nobody.
    Nobody,
    /// They may not be asked by this user.
    Denied,
    /// They took the call and said nothing, or something else.
    Strange(String),
}

impl Answer {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Self::Nobody,
            ErrorKind::PermissionDenied => Self::Denied,
            ErrorKind::TimedOut => Self::Strange(format!("nothing came back for {} s", PATIENCE.as_secs())),
            _ => Self::Strange(error.to_string()),
        }
    }
}

/// Whether a gRPC server is behind a socket: whether it greets as HTTP/2 wants it.
pub(super) async fn grpc(socket: &Path) -> Answer {
    let asked = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(HTTP2_GREETING).await?;
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await?;
        Ok(frame[3] == SETTINGS)
    };
    match within(asked).await {
        Ok(true) => Answer::Well,
        Ok(false) => Answer::Strange("it does not speak gRPC".into()),
        Err(error) => Answer::of(&error),
    }
}

/// Whether a registry is at `host:port`: whether it says 200 or 401 to `/v2/`.
pub(super) async fn registry(authority: &str) -> Answer {
    match within(head(authority, "/v2/")).await {
        Ok(head) => match head.status() {
            Some(200 | 401) => Answer::Well,
            Some(status) => Answer::Strange(format!("it answers /v2/ with {status}")),
            None => Answer::Strange("it does not speak HTTP".into()),
        },
        Err(error) => Answer::of(&error),
    }
}

/// What time a server says it is.
pub(super) async fn time(authority: &str) -> Option<SystemTime> {
    let head = within(head(authority, "/")).await.ok()?;
    httpdate::parse_http_date(head.field("date")?).ok()
}

async fn within<T>(asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// The first lines of a reply.
struct Head(String);

impl Head {
    fn status(&self) -> Option<u16> {
        let line = self.0.lines().next()?.strip_prefix("HTTP/1.")?;
        line.split(' ').nth(1)?.parse().ok()
    }

    fn field(&self, name: &str) -> Option<&str> {
        let fields = self.0.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }
}

async fn head(authority: &str, path: &str) -> io::Result<Head> {
    let stream = TcpStream::connect(authority).await?;
    exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")).await
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> io::Result<Head> {
    stream.write_all(request.as_bytes()).await?;
    let (mut head, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        let count = stream.read(&mut piece).await?;
        head.extend_from_slice(&piece[..count]);
        if count == 0 || head.windows(4).any(|end| end == b"\r\n\r\n") || head.len() as u64 > MAX_HEAD {
            return Ok(Head(String::from_utf8_lossy(&head).into_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, UnixListener};

    /// A server that takes one call, reads what comes first, and says this.
    async fn server(reply: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let authority = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a call");
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(reply).await;
        });
        authority
    }

    #[tokio::test]
    async fn a_registry_is_told_from_anything_else() {
        let cases: [(&[u8], Answer); 4] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Answer::Well),
            (b"HTTP/1.1 401 Unauthorized\r\n\r\n", Answer::Well),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", Answer::Strange("it answers /v2/ with 404".into())),
            (b"SSH-2.0-x\r\n", Answer::Strange("it does not speak HTTP".into())),
        ];
        for (reply, expected) in cases {
            assert_eq!(registry(&server(reply).await).await, expected);
        }
        let free = TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("an address");
        assert_eq!(registry(&free.to_string()).await, Answer::Nobody);
    }

    #[tokio::test]
    async fn a_server_says_what_time_it_is() {
        let reply = b"HTTP/1.1 301 Moved\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(time(&server(reply).await).await, Some(expected));
        assert_eq!(time(&server(b"HTTP/1.1 200 OK\r\n\r\n").await).await, None);
    }

    #[tokio::test]
    async fn a_grpc_server_greets() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("s");
        assert_eq!(grpc(&path).await, Answer::Nobody);
        for (reply, expected) in [
            (&b"\0\0\0\x04\0\0\0\0\0"[..], Answer::Well),
            (b"HTTP/1.1 400 Bad", Answer::Strange("it does not speak gRPC".into())),
        ] {
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).expect("binds");
            let serve = async {
                let (mut stream, _) = listener.accept().await.expect("a call");
                stream.write_all(reply).await.expect("writes");
                stream
            };
            assert_eq!(tokio::join!(grpc(&path), serve).0, expected);
        }
    }
}
