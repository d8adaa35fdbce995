//! A host that does as it is told, and everything that a fetch works with.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::limits::Limits;
use crate::core::reference::Reference;
use crate::cpu::Cpu;
use crate::fetch::progress::{Event, Observer};
use crate::fetch::{Arrival, Engine, FetchError, Fetcher, Job, Landed};
use crate::registry::{Client, Credentials, HostOptions, hosts_for};
use crate::store::layout::Layout;
use crate::store::{Belongs, Lease, Role, Store};

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// How many came before it.
    pub(super) number: usize,
    pub(super) path: String,
    /// First and last byte.
    pub(super) range: Option<(usize, usize)>,
}

/// How a body ends.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// As promised.
    Whole,
    /// Before the head.
    NoHead,
    /// Never, and without a head.
    Silence,
    /// As promised, but with a head that takes so long.
    Late(Duration),
    /// In good order after so many bytes.
    CloseAfter(usize),
    /// By a reset after so many bytes.
    ResetAfter(usize),
    /// Never, after so many bytes.
    HangAfter(usize),
    /// After so many bytes, one every 50 ms.
    DripAfter(usize),
    /// So many bytes per 10 ms.
    Paced(usize),
    /// After so many bytes, as many as there are permits.
    Gated(usize, Arc<Semaphore>),
}

/// A reply.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) ending: Ending,
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), ending: Ending::Whole }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// What a good host says.
    pub(super) fn honest(asked: &Asked, content: &[u8]) -> Self {
        match asked.range {
            None => Self { body: content.to_vec(), ..Self::status(200) },
            Some((first, last)) => {
                let range = format!("bytes {first}-{last}/{}", content.len());
                Self { body: content[first..=last].to_vec(), ..Self::status(206) }.header("content-range", range)
            }
        }
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A host that lives as long as the value.
pub(super) struct Server {
    pub(super) authority: String,
    log: Arc<Mutex<Vec<Asked>>>,
    /// The most connections that were answered at a time.
    busiest: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub(super) async fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let authority = listener.local_addr().expect("an address").to_string();
        let (log, busiest) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicUsize>::default());
        let (heard, most) = (Arc::clone(&log), Arc::clone(&busiest));
        let handler: Arc<Handler> = Arc::new(handler);
        let serving = async move {
            let active = Arc::<AtomicUsize>::default();
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, heard) = (Arc::clone(&handler), Arc::clone(&heard));
                let (active, most) = (Arc::clone(&active), Arc::clone(&most));
                connections.spawn(async move {
                    converse(stream, &*handler, &heard, &(active, most)).await;
                });
            }
        };
        Self { authority, log, busiest, _task: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    /// Serves some content honestly.
    pub(super) async fn honest(content: &[u8]) -> Self {
        let content = content.to_vec();
        Self::start(move |asked| Answer::honest(asked, &content)).await
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.log.lock().expect("no panic").clone()
    }

    pub(super) fn busiest(&self) -> usize {
        self.busiest.load(Ordering::SeqCst)
    }

    /// Bytes of all ranges that were asked for.
    pub(super) fn bytes_asked(&self) -> usize {
        self.asked().iter().filter_map(|asked| asked.range).map(|(first, last)| last - first + 1).sum()
    }
}

type Load = (Arc<AtomicUsize>, Arc<AtomicUsize>);

async fn converse(mut stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Asked>>, (active, most): &Load) {
    let _ = stream.set_nodelay(true);
    let mut buffered = Vec::new();
    while let Some((path, range)) = read(&mut stream, &mut buffered).await {
        let asked = {
            let mut log = log.lock().expect("no panic");
            let asked = Asked { number: log.len(), path, range };
            log.push(asked.clone());
            asked
        };
        let now = active.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(now, Ordering::SeqCst);
        let goes_on = answer(&mut stream, handler(&asked)).await;
        active.fetch_sub(1, Ordering::SeqCst);
        if goes_on.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, buffered: &mut Vec<u8>) -> Option<(String, Option<(usize, usize)>)> {
    let end = loop {
        if let Some(end) = buffered.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffered).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffered[..end]).to_lowercase();
    buffered.drain(..end + 4);
    let path = head.split(' ').nth(1)?.to_owned();
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes=")?.split_once('-'));
    Some((path, range.map(|(first, last)| (first.parse().expect("bounded"), last.parse().expect("bounded")))))
}

async fn answer(stream: &mut TcpStream, answer: Answer) -> Option<()> {
    if let Ending::NoHead = answer.ending {
        return None;
    }
    match answer.ending {
        Ending::Silence => return until_gone(stream).await,
        Ending::Late(wait) => tokio::time::sleep(wait).await,
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", answer.body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    let first = |count: usize| &answer.body[..count.min(answer.body.len())];
    match answer.ending {
        Ending::Whole | Ending::Late(_) | Ending::NoHead | Ending::Silence => stream.write_all(&answer.body).await.ok(),
        Ending::CloseAfter(count) => {
            stream.write_all(first(count)).await.ok()?;
            stream.shutdown().await.ok()?;
            None
        }
        Ending::ResetAfter(count) => {
            stream.write_all(first(count)).await.ok()?;
            stream.set_zero_linger().ok()?;
            None
        }
        Ending::HangAfter(count) => {
            stream.write_all(first(count)).await.ok()?;
            until_gone(stream).await
        }
        Ending::DripAfter(count) => {
            stream.write_all(first(count)).await.ok()?;
            for byte in &answer.body[count.min(answer.body.len())..] {
                tokio::time::sleep(Duration::from_millis(50)).await;
                stream.write_all(&[*byte]).await.ok()?;
            }
            Some(())
        }
        Ending::Paced(count) => {
            for piece in answer.body.chunks(count) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                stream.write_all(piece).await.ok()?;
            }
            Some(())
        }
        Ending::Gated(count, gate) => {
            stream.write_all(first(count)).await.ok()?;
            for byte in &answer.body[count.min(answer.body.len())..] {
                gate.acquire().await.ok()?.forget();
                stream.write_all(&[*byte]).await.ok()?;
            }
            Some(())
        }
    }
}

async fn until_gone(stream: &mut TcpStream) -> Option<()> {
    while stream.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
    None
}

/// Keeps what it hears, as text.
#[derive(Debug, Default)]
pub(super) struct Heard {
    lines: Mutex<Vec<String>>,
    /// Bytes that were staged before, and that came.
    pub(super) bytes: AtomicUsize,
}

impl Heard {
    /// How many events begin so.
    pub(super) fn count(&self, start: &str) -> usize {
        self.lines.lock().expect("no panic").iter().filter(|line| line.starts_with(start)).count()
    }
}

impl Observer for Heard {
    fn notify(&self, event: Event<'_>) {
        let line = match event {
            Event::Started { offset, .. } => {
                self.bytes.store(usize::try_from(offset).expect("small"), Ordering::SeqCst);
                format!("started at {offset}")
            }
            Event::Advanced { bytes, .. } => {
                self.bytes.fetch_add(usize::try_from(bytes).expect("small"), Ordering::SeqCst);
                "advanced".into()
            }
            Event::Blamed { host, .. } => format!("blamed {host}"),
            Event::NextHost { left, cause, .. } => {
                let told = cause.to_string();
                let why = told.rsplit(": ").next().unwrap_or_default();
                format!("next after {left} ({why})")
            }
            Event::Waiting { .. } => "waiting".into(),
            Event::Present(_) => "present".into(),
            Event::Finished(_) => "finished".into(),
            Event::Shared(_) => "shared".into(),
            Event::Asking { .. } => "asking".into(),
            Event::Held { .. } => "held".into(),
            Event::Began(_) | Event::Ended { .. } | Event::Unpacked { .. } | Event::Mismatch(_) => return,
        };
        self.lines.lock().expect("no panic").push(line);
    }
}

/// Bounds under which a blob of a megabyte is a large one, and half a second a long time.
pub(super) fn small_limits() -> Limits {
    Limits {
        split_from: 256 * 1024,
        shortest_range: 64 * 1024,
        longest_range: 128 * 1024,
        chunk_bytes: 16 * 1024,
        stall_rate: 1000,
        stall_window: Duration::from_millis(500),
        ..Limits::default()
    }
}

/// A store to fetch into.
pub(super) struct Bed {
    folder: tempfile::TempDir,
    pub(super) layout: Layout,
    pub(super) lease: Lease,
    pub(super) engine: Engine,
    pub(super) heard: Arc<Heard>,
}

impl Bed {
    pub(super) async fn new() -> Self {
        Self::with(small_limits()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::open_or_create(&folder.path().join("layout")).expect("a layout");
        let lease = layout.lease().await.expect("a lease");
        let client = Client::new(Credentials::anonymous(), limits).expect("a client");
        let engine = Engine::new(client, Cpu::new(), limits);
        Self { folder, layout, lease, engine, heard: Arc::default() }
    }

    /// A fetcher from these hosts, the last of which is the registry.
    pub(super) fn fetcher(&self, servers: &[&Server]) -> (Fetcher, Reference) {
        let (registry, mirrors) = servers.split_last().expect("a registry");
        let reference: Reference = format!("{}/a/b", registry.authority).parse().expect("a reference");
        let mirrors = mirrors.iter().map(|mirror| format!("http://{}", mirror.authority)).collect();
        let options = HostOptions { plain_http: true, mirrors, ..HostOptions::default() };
        let hosts = hosts_for(&reference, &options).expect("hosts");
        (Fetcher::new(self.engine.clone(), hosts, Arc::<Heard>::clone(&self.heard)), reference)
    }

    pub(super) async fn fetch(&self, servers: &[&Server], content: &[u8]) -> Result<Landed, FetchError> {
        let (fetcher, reference) = self.fetcher(servers);
        self.fetch_with(&fetcher, &reference, content, &watch::Sender::new(Arrival::Awaited)).await
    }

    pub(super) async fn fetch_with(
        &self,
        fetcher: &Fetcher,
        reference: &Reference,
        content: &[u8],
        arrival: &watch::Sender<Arrival>,
    ) -> Result<Landed, FetchError> {
        let job = Job { reference, store: &self.layout, lease: &self.lease };
        let belongs = Belongs { role: Role::Layer(None), source: reference };
        fetcher.blob(&job, &descriptor(content), belongs, arrival).await
    }

    /// What the store has under the digest of `content`.
    pub(super) fn landed(&self, content: &[u8]) -> Option<Vec<u8>> {
        let blobs = self.folder.path().join("layout/blobs/sha256");
        std::fs::read(blobs.join(Digest::of(content).hex())).ok()
    }

    /// Files in staging.
    pub(super) fn staged(&self) -> usize {
        std::fs::read_dir(self.layout.staging().root()).map_or(0, Iterator::count)
    }
}

pub(super) fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::Other("x".into()), Digest::of(content), content.len() as u64)
}

/// Bytes of which no two stretches are alike.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}
