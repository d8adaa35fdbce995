//! Debian's docker-registry over the storage of one image, and nginx before it where a
//! connection is to be slow.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::measure;

/// How fast the registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it can.
    Free,
    /// So many bytes a second on each connection.
    PerConnection(u64),
}

/// A running registry; it ends with this.
pub(crate) struct Registry {
    processes: Vec<Child>,
    address: String,
    access_log: PathBuf,
}

impl Registry {
    /// Serves what lies in `storage`.
    pub(crate) fn start(storage: &Path, scratch: &Path, pace: Pace) -> Self {
        let access_log = scratch.join("registry.log");
        let address = format!("127.0.0.1:{}", free_port());
        let registry = |http: &str| {
            let config = scratch.join("registry.yml");
            let storage = storage.display();
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\nhttp: {{{http}, secret: not-a-secret}}\n\
                 storage: {{filesystem: {{rootdirectory: {storage}}}}}\n"
            );
            std::fs::write(&config, text).expect("a writable scratch folder");
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&config).env_clear();
            command.stdout(File::create(&access_log).expect("a writable scratch folder"));
            start(command, "docker-registry")
        };
        let mut processes = Vec::new();
        match pace {
            Pace::Free => processes.push(registry(&format!("addr: \"{address}\""))),
            Pace::PerConnection(rate) => {
                // Between the two is a socket, so that the loopback counts every byte once.
                let socket = scratch.join("registry.sock");
                let _ = std::fs::remove_file(&socket);
                processes.push(registry(&format!("net: unix, addr: {}", socket.display())));
                wait_for(&mut processes, || UnixStream::connect(&socket).is_ok());
                processes.push(nginx(scratch, &address, rate));
            }
        }
        wait_for(&mut processes, || TcpStream::connect(&address).is_ok());
        Self { processes, address, access_log }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// CPU time so far, with that of whatever slows it down.
    pub(crate) fn cpu(&self) -> Duration {
        self.processes.iter().map(|process| measure::cpu_of(process.id())).sum()
    }

    /// Requests answered so far.
    pub(crate) fn requests(&self) -> usize {
        std::fs::read_to_string(&self.access_log).unwrap_or_default().lines().count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            // Both fail only when it is gone already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn nginx(scratch: &Path, address: &str, rate: u64) -> Child {
    let folder = scratch.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/nginx-{name};"))
        .join(" ");
    // A master would outlive its end by a signal that it cannot pass on.
    let text = format!(
        "daemon off; master_process off; user root; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000; {temporary}\n\
         server {{ listen {address}; location / {{\n\
         proxy_pass http://unix:{folder}/registry.sock:; proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
         proxy_max_temp_file_size 0; proxy_buffers 8 256k; proxy_buffer_size 256k; limit_rate {rate};\n\
         }} }} }}\n"
    );
    let config = scratch.join("nginx.conf");
    std::fs::write(&config, text).expect("a writable scratch folder");
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&config).arg("-p").arg(scratch);
    start(command, "nginx")
}

fn start(mut command: Command, package: &str) -> Child {
    let started = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    started.unwrap_or_else(|error| panic!("{package} (apt-get install {package}) does not start: {error}"))
}

fn free_port() -> u16 {
    // The network is ours alone, so that nobody takes it in between.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback interface");
    listener.local_addr().expect("its address").port()
}

fn wait_for(processes: &mut [Child], ready: impl Fn() -> bool) {
    while !ready() {
        for process in &mut *processes {
            let ended = process.try_wait().expect("its state");
            assert!(ended.is_none(), "the registry, or nginx before it, ended with {ended:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
