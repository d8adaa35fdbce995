//! The mirror on a free port, and a client that says exactly what it is told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lighterman::core::limits::Limits;
use lighterman::cpu::Cpu;
use lighterman::fetch::Engine;
use lighterman::registry::{Client, Credentials};
use lighterman::service::mirror::{Mirror, Settings, serve};
use lighterman::store::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A running mirror; it ends when this is dropped.
pub(crate) struct MirrorServer {
    address: SocketAddr,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl MirrorServer {
    /// A mirror that may reach these registries although they are on loopback.
    pub(crate) fn allowing(registries: &[&str]) -> Self {
        let registries: Vec<String> = registries.iter().map(|registry| (*registry).to_owned()).collect();
        Self::start(|settings| settings.allow = registries, Vec::new())
    }

    /// A mirror with other settings than the defaults.
    pub(crate) fn start(change: impl FnOnce(&mut Settings), stores: Vec<Arc<dyn Store>>) -> Self {
        Self::start_as(Credentials::anonymous(), change, stores)
    }

    /// A mirror on a node that has credentials of its own.
    pub(crate) fn start_as(node: Credentials, change: impl FnOnce(&mut Settings), stores: Vec<Arc<dyn Store>>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("a bound address");
        let mut settings = Settings::new(folder.path().join("cache"));
        settings.listen = vec![address];
        change(&mut settings);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let limits = Limits::default();
                let client = Client::new(node, limits).expect("a client");
                let engine = Engine::new(client, Cpu::new(), limits);
                let mirror = Mirror::new(&engine, settings, stores);
                let listener = TcpListener::from_std(listener).expect("a listening socket");
                let stopped = async { drop(stopped.await) };
                tokio::select! {
                    () = serve(listener, mirror, std::future::pending()) => {}
                    () = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { address, folder, stop: Some(stop), thread: Some(thread) }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where it keeps blobs.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// A GET with these headers, to its end.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.open("GET", path, headers).finish()
    }

    /// A HEAD with these headers.
    pub(crate) fn head(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.open("HEAD", path, headers).finish()
    }

    /// Sends a request and reads the head of the answer.
    pub(crate) fn open(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Open {
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        self.say(method, &format!("{text}\r\n"))
    }

    /// Sends a text and reads the head of the answer.
    pub(crate) fn say(&self, method: &str, text: &str) -> Open {
        let mut stream = TcpStream::connect(self.address).expect("the mirror listens");
        // A mirror that has heard enough may hang up while it is still spoken to.
        let _ = stream.write_all(text.as_bytes());
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let pair = |line: &String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers = lines.iter().skip(1).filter_map(pair).collect();
        Open { answer: Answer { status, headers, body: Vec::new() }, is_head: method == "HEAD", reader }
    }
}

impl Drop for MirrorServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An answer of which the head was read.
pub(crate) struct Open {
    pub(crate) answer: Answer,
    is_head: bool,
    reader: BufReader<TcpStream>,
}

impl Open {
    /// The next so many bytes of the body.
    pub(crate) fn read(&mut self, count: usize) {
        let from = self.answer.body.len();
        self.answer.body.resize(from + count, 0);
        self.reader.read_exact(&mut self.answer.body[from..]).expect("so many bytes come");
    }

    /// The rest, however it ends.
    pub(crate) fn finish(mut self) -> Answer {
        if !self.is_head {
            // A connection that breaks ends the body too; whether it was whole shows in its length.
            let _ = self.reader.read_to_end(&mut self.answer.body);
        }
        self.answer
    }
}

/// What came.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 where no answer came.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value; empty where there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// Whether as many bytes came as were announced.
    pub(crate) fn is_whole(&self) -> bool {
        self.field("content-length").parse() == Ok(self.body.len())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON document")
    }

    /// The code of the specification's error document.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.field("content-type"), "application/json");
        self.json()["errors"][0]["code"].as_str().expect("a code").to_owned()
    }
}

/// Makes hosts.toml of `registry` in a folder lead to `hosts`, and then to the registry itself.
pub(crate) fn lead(dir: &Path, registry: &str, hosts: &[&str]) {
    let hosts: String = hosts.iter().map(|host| format!("[host.\"http://{host}\"]\n")).collect();
    let dir = dir.join(registry);
    std::fs::create_dir_all(&dir).expect("a writable temporary folder");
    let toml = format!("server = \"http://{registry}\"\n{hosts}");
    std::fs::write(dir.join("hosts.toml"), toml).expect("a writable temporary folder");
}
