//! Blobs in files, over HTTP/1.1 with ranges. A registry, as far as blobs are asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes that are sent at a time.
const PIECE: u64 = 64 * 1024;

/// A registry that runs until the program ends.
pub(crate) struct Server {
    address: SocketAddr,
}

impl Server {
    /// Serves these files by their digests.
    pub(crate) fn start(blobs: HashMap<String, PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let blobs = Arc::new(blobs);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let blobs = Arc::clone(&blobs);
                // Whoever breaks off ends his thread, and nothing else.
                std::thread::spawn(move || while answer(&stream, &blobs).is_some() {});
            }
        });
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn answer(mut stream: &TcpStream, blobs: &HashMap<String, PathBuf>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.ok()?;
    let mut asked = None;
    for line in lines {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            break;
        }
        asked = asked.or_else(|| range(&line));
    }
    let digest = request.split(' ').nth(1)?.rsplit('/').next()?;
    let Some(path) = blobs.get(digest) else {
        return stream.write_all(b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n").ok();
    };
    let file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    let (status, first, last) = match asked {
        Some((first, last)) => (206, first, last.min(size - 1)),
        None => (200, 0, size - 1),
    };
    let length = last + 1 - first;
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\ncontent-range: bytes {first}-{last}/{size}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut at = first;
    while at <= last {
        let mut piece = vec![0; PIECE.min(last + 1 - at) as usize];
        file.read_exact_at(&mut piece, at).ok()?;
        stream.write_all(&piece).ok()?;
        at += piece.len() as u64;
    }
    Some(())
}

/// First and last byte of a `Range` header in lower case.
fn range(line: &str) -> Option<(u64, u64)> {
    let (first, last) = line.strip_prefix("range: bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().unwrap_or(u64::MAX)))
}
