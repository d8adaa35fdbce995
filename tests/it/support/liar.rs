//! A scripted registry over real sockets, for what real registries never do on demand.
//!
//! It serves an image honestly unless a reply is planned for a path; a planned reply is
//! used once. Every request is on record before its reply starts, so what a program
//! asked for can be counted as soon as the program is done.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::fixture::{Blob, Image};

/// How to answer one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// As a good registry would.
    Honest,
    /// This status line, these headers, this body.
    Status(u16, Vec<(&'static str, String)>, &'static str),
    /// Promises the whole and ends the connection in good order after so many bytes.
    CutAfter(usize),
    /// Promises the whole and resets the connection after so many bytes.
    ResetAfter(usize),
    /// Promises the whole, sends so many bytes, and then nothing ever.
    HangAfter(usize),
    /// So many bytes more than there should be.
    TooMuch(usize),
    /// The right number of bytes, one of them wrong.
    Flipped(usize),
    /// 206 for another range than was asked for.
    WrongRange,
    /// 200 with the whole, whatever range was asked for.
    IgnoreRange,
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// First and last byte of a `Range` header; the last is `None` where it is open.
    pub(crate) fn range(&self) -> Option<(usize, Option<usize>)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()))
    }
}

#[derive(Default)]
struct Script {
    images: Vec<(String, String, Image)>,
    planned: Vec<(String, VecDeque<Reply>)>,
    requests: Vec<Request>,
    wants_basic: Option<String>,
}

#[derive(Default)]
struct Stage {
    script: Mutex<Script>,
    heard: Condvar,
}

impl Stage {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no panic under the lock")
    }
}

/// A running liar; it ends when this is dropped.
pub(crate) struct Liar {
    stage: Arc<Stage>,
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Liar {
    /// Starts a registry that has nothing yet.
    pub(crate) fn start() -> Self {
        let stage = Arc::new(Stage::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("a bound address");
        let (stop, stopped) = oneshot::channel::<()>();
        let actors = Arc::clone(&stage);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listening socket");
                tokio::select! {
                    () = accept(listener, actors) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { stage, address, _stop: stop }
    }

    /// Starts a registry that serves one image.
    pub(crate) fn serving(image: &Image, name: &str) -> Self {
        let liar = Self::start();
        liar.add(image, name);
        liar
    }

    /// Serves an image as `repository:tag` too.
    pub(crate) fn add(&self, image: &Image, name: &str) {
        let (repository, tag) = name.split_once(':').expect("repository:tag");
        self.stage.script().images.push((repository.into(), tag.into(), image.clone()));
    }

    /// Answers the next requests whose method and path contain `part` (`GET /v2/app/blobs/`) so.
    pub(crate) fn plan(&self, part: &str, replies: impl IntoIterator<Item = Reply>) {
        self.stage.script().planned.push((part.into(), replies.into_iter().collect()));
    }

    /// Answers 401 with a Basic challenge unless this `Authorization` comes.
    pub(crate) fn require(&self, authorization: &str) {
        self.stage.script().wants_basic = Some(authorization.into());
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The full reference of an image here.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.stage.script().requests.clone()
    }

    /// The requests whose method and path contain `part`.
    pub(crate) fn requests_for(&self, part: &str) -> Vec<Request> {
        let requests = self.requests().into_iter();
        requests.filter(|r| format!("{} {}", r.method, r.path).contains(part)).collect()
    }

    /// Waits until a request whose method and path contain `part` has come.
    pub(crate) fn wait_for(&self, part: &str) {
        let script = self.stage.script();
        let heard =
            |script: &mut Script| script.requests.iter().any(|r| format!("{} {}", r.method, r.path).contains(part));
        drop(self.stage.heard.wait_while(script, |script| !heard(script)).expect("no panic under the lock"));
    }
}

async fn accept(listener: TcpListener, stage: Arc<Stage>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, Arc::clone(&stage)));
    }
}

/// Answers requests until one side ends the connection.
async fn converse(mut stream: TcpStream, stage: Arc<Stage>) {
    // Head and body are two writes; without this the second would wait for the first's ACK.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut buffered = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffered).await {
        let (reply, honest) = stage.hear(&request);
        if perform(&mut stream, (&request, &reply), &honest).await.is_none() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffered: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = buffered.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffered).await.ok()? == 0 || !buffered[0].is_ascii_uppercase() {
            // The end, or not HTTP: clients that try TLS first must not wait for an answer to it.
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffered[..end]).into_owned();
    buffered.drain(..end + 4);
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    Some(Request { method, path, headers })
}

/// What a good registry would send.
enum Honest {
    Content(Blob),
    Ping,
    Missing,
    Unauthorized,
}

impl Stage {
    /// Puts a request on record and decides how to answer it.
    fn hear(&self, request: &Request) -> (Reply, Honest) {
        let mut script = self.script();
        script.requests.push(request.clone());
        self.heard.notify_all();
        let honest = script.honest(request);
        if matches!(honest, Honest::Unauthorized) {
            return (Reply::Honest, honest);
        }
        let line = format!("{} {}", request.method, request.path);
        let plan =
            script.planned.iter_mut().find(|(part, replies)| line.contains(part.as_str()) && !replies.is_empty());
        let reply = plan.and_then(|(_, replies)| replies.pop_front()).unwrap_or(Reply::Honest);
        (reply, honest)
    }
}

impl Script {
    fn honest(&self, request: &Request) -> Honest {
        let allowed = self.wants_basic.as_deref().is_none_or(|wanted| request.header("authorization") == Some(wanted));
        let path = request.path.split('?').next().unwrap_or_default().trim_start_matches("/v2/");
        match path.rsplitn(3, '/').collect::<Vec<_>>()[..] {
            _ if !allowed => Honest::Unauthorized,
            [] | [""] => Honest::Ping,
            [target, kind, repository] => self.find(repository, kind, target).map_or(Honest::Missing, Honest::Content),
            _ => Honest::Missing,
        }
    }

    fn find(&self, repository: &str, kind: &str, target: &str) -> Option<Blob> {
        let mut images = self.images.iter().filter(|(name, ..)| name == repository);
        images.find_map(|(_, tag, image)| match kind {
            "manifests" if target == tag => Some(image.root.clone()),
            "manifests" => image.documents.iter().chain([&image.root]).find(|b| b.digest == target).cloned(),
            _ => image.blobs().into_iter().find(|b| b.digest == target).cloned(),
        })
    }
}

/// Sends a reply; `None` when the connection is over.
async fn perform(stream: &mut TcpStream, (request, reply): (&Request, &Reply), honest: &Honest) -> Option<()> {
    let plain = |code: u16, headers: &str, body: &str| {
        format!("HTTP/1.1 {code} x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
    };
    let blob = match (reply, honest) {
        (Reply::Status(code, headers, body), _) => {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            return stream.write_all(plain(*code, &headers, body).as_bytes()).await.ok();
        }
        (_, Honest::Content(blob)) => blob,
        (_, Honest::Ping) => return stream.write_all(plain(200, "", "").as_bytes()).await.ok(),
        (_, Honest::Missing) => return stream.write_all(plain(404, "", "{}").as_bytes()).await.ok(),
        (_, Honest::Unauthorized) => {
            let challenge = "www-authenticate: Basic realm=\"liar\"\r\n";
            return stream.write_all(plain(401, challenge, "{}").as_bytes()).await.ok();
        }
    };
    let (head, body) = content(request, reply, blob);
    stream.write_all(head.as_bytes()).await.ok()?;
    if request.method == "HEAD" {
        return Some(());
    }
    let sent = match reply {
        Reply::CutAfter(count) | Reply::ResetAfter(count) | Reply::HangAfter(count) => &body[..body.len().min(*count)],
        _ => &body[..],
    };
    stream.write_all(sent).await.ok()?;
    match reply {
        Reply::CutAfter(_) => {
            stream.shutdown().await.ok()?;
            None
        }
        Reply::ResetAfter(_) => {
            stream.set_zero_linger().ok()?;
            None
        }
        // Until the other side gives up.
        Reply::HangAfter(_) => {
            while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
            None
        }
        _ => Some(()),
    }
}

/// Status line, headers and body for some content, as the reply bends them.
fn content(request: &Request, reply: &Reply, blob: &Blob) -> (String, Bytes) {
    let size = blob.bytes.len();
    let whole = || (200, String::new(), blob.bytes.clone());
    let part = |first: usize, last: usize| {
        (206, format!("content-range: bytes {first}-{last}/{size}\r\n"), blob.bytes.slice(first..=last))
    };
    let asked = request.range().filter(|(first, _)| *first < size && !matches!(reply, Reply::IgnoreRange));
    let (code, range, mut body) = match (reply, asked) {
        (Reply::WrongRange, _) => part(1, size - 1),
        (_, Some((first, last))) => part(first, last.unwrap_or(size - 1).min(size - 1)),
        (_, None) => whole(),
    };
    match reply {
        Reply::TooMuch(extra) => body = [&body[..], &vec![b'!'; *extra][..]].concat().into(),
        Reply::Flipped(at) => {
            let mut bytes = body.to_vec();
            let at = (*at).min(bytes.len() - 1);
            bytes[at] ^= 1;
            body = bytes.into();
        }
        _ => {}
    }
    let head = format!(
        "HTTP/1.1 {code} x\r\ncontent-type: {}\r\ndocker-content-digest: {}\r\naccept-ranges: bytes\r\n{range}content-length: {}\r\n\r\n",
        blob.media_type,
        blob.digest,
        body.len()
    );
    (head, body)
}
