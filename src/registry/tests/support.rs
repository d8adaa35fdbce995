//! A registry that does as it is told, over a real socket.
//!
//! One thread per connection and a blocking handler: simple enough to send exactly the
//! bytes that a test wants, broken ones included, in plain text or over TLS.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::core::limits::Limits;
use crate::core::reference::Reference;
use crate::registry::{Client, Credentials, Host, HostOptions, hosts_for};

/// What arrived.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    /// With the query.
    pub(super) path: String,
    headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is sent back.
#[derive(Debug, Clone)]
pub(super) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Hang up after so many bytes of the body.
    cut: Option<usize>,
}

impl Response {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }
}

type Handler = dyn Fn(&Request) -> Response + Send + Sync;

/// A server that lives as long as the value.
pub(super) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(super) fn plain(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(handler))
    }

    pub(super) fn tls(
        config: Arc<ServerConfig>,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(config), Arc::new(handler))
    }

    fn start(tls: Option<Arc<ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (tls, handler, log) = (tls.clone(), Arc::clone(&handler), Arc::clone(&log));
                // Else the kernel keeps the end of a reply back for a while.
                stream.set_nodelay(true).expect("a socket option");
                // Clients hang up in the middle all the time here, so the outcome does not matter.
                std::thread::spawn(move || match tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config).expect("a server");
                        converse(StreamOwned::new(connection, stream), &*handler, &log)
                    }
                    None => converse(stream, &*handler, &log),
                });
            }
        });
        Self { address, requests, stop }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// `127.0.0.1:PORT`
    pub(super) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    /// How many requests had `text` in their path.
    pub(super) fn count(&self, text: &str) -> usize {
        self.requests().iter().filter(|request| request.path.contains(text)).count()
    }

    /// `a/b:latest` at this server.
    pub(super) fn reference(&self) -> Reference {
        reference_at(&self.authority())
    }

    /// This server as plain http upstream.
    pub(super) fn host(&self) -> Host {
        host(&self.reference(), &HostOptions { plain_http: true, ..HostOptions::default() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor; where that fails it is gone already.
        drop(TcpStream::connect(self.address));
    }
}

/// `a/b:latest` at an authority.
pub(super) fn reference_at(authority: &str) -> Reference {
    format!("{authority}/a/b:latest").parse().expect("a reference")
}

/// The only host for `reference`.
pub(super) fn host(reference: &Reference, options: &HostOptions) -> Host {
    let mut hosts = hosts_for(reference, options).expect("hosts");
    assert_eq!(hosts.len(), 1);
    hosts.remove(0)
}

pub(super) fn client(credentials: Credentials) -> Client {
    Client::new(credentials, Limits::default()).expect("a client")
}

fn converse(stream: impl Read + Write, handler: &Handler, log: &Mutex<Vec<Request>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = match read(&mut stream) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            // What HTTP servers say to TLS.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return stream.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            }
            Err(error) => return Err(error),
        };
        log.lock().expect("no panic").push(request.clone());
        let response = handler(&request);
        if !write(stream.get_mut(), &request, &response)? {
            return Ok(());
        }
    }
}

fn read(stream: &mut BufReader<impl Read>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(Request { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() }))
}

/// Whether the connection goes on.
fn write(stream: &mut impl Write, request: &Request, response: &Response) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Reason\r\n", response.status);
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let told = |name: &str| response.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if !told("content-length") && !told("transfer-encoding") {
        head += &format!("content-length: {}\r\n", response.body.len());
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if request.method != "HEAD" {
        let end = response.cut.unwrap_or(response.body.len());
        stream.write_all(&response.body[..end])?;
    }
    stream.flush()?;
    Ok(response.cut.is_none())
}
