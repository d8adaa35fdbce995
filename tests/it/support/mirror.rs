//! The mirror of a real daemon on a free port, and a client that says exactly what it is told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::containerd::ContainerdDaemon;
use super::daemon::Daemon;
use super::lighterman::Lighterman;

/// The flags with which a daemon has a mirror, on a port that it logs.
pub(crate) const LISTEN: [&str; 2] = ["--mirror-listen", "127.0.0.1:0"];

/// A daemon with a mirror; it ends when this is dropped. What it says as a [`Client`] goes to the mirror.
pub(crate) struct MirrorServer {
    daemon: Daemon<'static>,
    containerd: PathBuf,
    client: Client,
}

/// Settings of a mirror, as its configuration has them.
#[derive(Default)]
pub(crate) struct Setup {
    /// Lines at the top of the file.
    pub(crate) top: String,
    /// `mirror.allow`.
    pub(crate) allow: Vec<String>,
    /// `mirror.upstream`.
    pub(crate) upstream: Option<String>,
    /// `mirror.listen`, in whose place a flag has another.
    pub(crate) listen: Option<String>,
}

impl Setup {
    /// These registries may be reached although they are on loopback.
    pub(crate) fn allowing(registries: &[&str]) -> Self {
        Self { allow: registries.iter().map(|registry| (*registry).to_owned()).collect(), ..Self::default() }
    }

    /// The hosts.toml files of registries are here.
    pub(crate) fn hosts_dir(dir: &Path) -> Self {
        Self { top: format!("hosts-dir = {dir:?}"), ..Self::default() }
    }

    fn lines(&self) -> String {
        let line = |name: &str, value: &Option<String>| match value {
            Some(value) => format!("{name} = {value:?}\n"),
            None => String::new(),
        };
        let (upstream, listen) = (line("upstream", &self.upstream), line("listen", &self.listen));
        format!("{}\n[mirror]\nallow = {:?}\n{upstream}{listen}", self.top, self.allow)
    }
}

impl MirrorServer {
    /// A mirror that may reach these registries although they are on loopback.
    pub(crate) fn allowing(registries: &[&str]) -> Self {
        Self::start(&Setup::allowing(registries))
    }

    /// A mirror with these settings, on a node without containerd.
    pub(crate) fn start(setup: &Setup) -> Self {
        Self::start_as(Lighterman::new(), setup)
    }

    /// The same on the node of this administrator.
    pub(crate) fn start_as(administrator: Lighterman<'static>, setup: &Setup) -> Self {
        Self::start_at(administrator, Path::new("/nowhere/containerd.sock"), setup)
    }

    /// A mirror next to `containerd`.
    pub(crate) fn beside(containerd: &ContainerdDaemon, setup: &Setup) -> Self {
        Self::start_at(Lighterman::new(), &containerd.address(), setup)
    }

    fn start_at(administrator: Lighterman<'static>, containerd: &Path, setup: &Setup) -> Self {
        let daemon = Daemon::start_with(administrator, containerd, &setup.lines(), &LISTEN);
        let client = Client::of_mirror(&daemon);
        Self { daemon, containerd: containerd.into(), client }
    }

    /// Makes it go by other settings, in what can be changed while it runs.
    pub(crate) fn reload(&mut self, setup: &Setup) {
        self.daemon.reload(&self.containerd, &setup.lines());
    }

    /// The daemon.
    pub(crate) fn daemon(&mut self) -> &mut Daemon<'static> {
        &mut self.daemon
    }

    /// Where it keeps blobs.
    pub(crate) fn cache(&self) -> PathBuf {
        self.daemon.staging().with_file_name("mirror")
    }
}

impl Deref for MirrorServer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A client of HTTP that says exactly what it is told to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(SocketAddr);

impl Client {
    /// One of the mirror of a daemon that was started with [`LISTEN`].
    pub(crate) fn of_mirror(daemon: &Daemon<'_>) -> Self {
        Self(daemon.logged_address("serving the mirror"))
    }

    /// One of whoever listens there.
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self(address)
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.0.to_string()
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
            text += &format!("host: {}\r\n", self.0);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        self.say(method, &format!("{text}\r\n"))
    }

    /// Sends a text and reads the head of the answer.
    pub(crate) fn say(&self, method: &str, text: &str) -> Open {
        let mut stream = TcpStream::connect(self.0).expect("the mirror listens");
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
