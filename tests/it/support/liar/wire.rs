//! The sockets: requests are read and answers sent, byte by counted byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Stage;
use super::answer::Answer;
use super::record::Request;
use super::reply::Ending;
use super::script::is_transfer;

/// Bytes written at a time, where nothing slows the answer down.
const PIECE: usize = 256 * 1024;
/// Pieces per second of a connection that has a rate.
const TICKS: u64 = 50;

pub(super) async fn accept(listener: TcpListener, stage: Arc<Stage>) {
    while let Ok((stream, _)) = listener.accept().await {
        let open = Open::new(&stage);
        tokio::spawn(async move { converse(stream, &open.0).await });
    }
}

/// A connection; it counts as open as long as this lives.
struct Open(Arc<Stage>);

impl Open {
    fn new(stage: &Arc<Stage>) -> Self {
        stage.open(1);
        Self(Arc::clone(stage))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open(-1);
    }
}

/// A transfer in progress; it counts as long as this lives.
struct Busy<'a>(&'a Stage);

impl<'a> Busy<'a> {
    fn new(stage: &'a Stage) -> Self {
        let mut script = stage.script();
        script.busy += 1;
        script.busiest = script.busiest.max(script.busy);
        Self(stage)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.script().busy -= 1;
    }
}

/// Answers requests until one side ends the connection.
async fn converse(mut stream: TcpStream, stage: &Stage) {
    // Head and body are two writes; without this the second would wait for the first's ACK.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut buffered = Vec::new();
    let mut connection = None;
    while let Some(mut request) = read_request(&mut stream, &mut buffered).await {
        request.connection = *connection.get_or_insert_with(|| stage.next_connection());
        let _busy = is_transfer(&request).then(|| Busy::new(stage));
        let (answer, number) = stage.hear(&request);
        let mut sending = Sending { stream: &mut stream, stage, number };
        if sending.perform(&answer).await.is_none() {
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
    Some(Request { method, path, headers, connection: 0, at: Instant::now(), status: 0, sent: 0 })
}

/// One answer under way.
struct Sending<'a> {
    stream: &'a mut TcpStream,
    stage: &'a Stage,
    /// Of the request, in the record.
    number: usize,
}

impl Sending<'_> {
    /// Sends an answer; `None` when the connection is over.
    async fn perform(&mut self, answer: &Answer) -> Option<()> {
        let length = if answer.head_only { 0 } else { answer.body.length() };
        let stop = answer.end.map(|(_, at)| at.within(length));
        if stop == Some(None) {
            return self.end(answer).await;
        }
        let gate = answer.gate.map(|at| at.within(length));
        if gate == Some(None) {
            self.gate().await?;
        }
        self.stream.write_all(answer.head().as_bytes()).await.ok()?;
        self.stage.note(self.number, |request| request.status = answer.status);
        let stop = stop.flatten().unwrap_or(length);
        let mut at = 0;
        if let Some(gate) = gate.flatten() {
            self.send(answer, &mut at, gate).await?;
            self.gate().await?;
        }
        self.send(answer, &mut at, stop).await?;
        if answer.end.is_some() { self.end(answer).await } else { Some(()) }
    }

    /// Sends the body from `at` up to `to`.
    async fn send(&mut self, answer: &Answer, at: &mut usize, to: usize) -> Option<()> {
        let began = Instant::now();
        let from = *at;
        while *at < to {
            let most = match answer.pace {
                Some(rate) => usize::try_from((rate / TICKS).max(1)).unwrap_or(PIECE).min(to - *at),
                None => PIECE.min(to - *at),
            };
            let mut piece: Bytes = answer.body.piece(*at, most);
            *at += piece.len();
            while !piece.is_empty() {
                let count = self.stream.write(&piece).await.ok()?;
                let _ = piece.split_to(count);
                self.stage.note(self.number, |request| request.sent += count);
            }
            // After the last piece the other side may have its next request on the way already.
            if let Some(rate) = answer.pace
                && *at < to
            {
                let due = Duration::from_secs_f64((*at - from) as f64 / rate as f64);
                let rest = due.saturating_sub(began.elapsed());
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    () = gone(self.stream) => return None,
                }
            }
        }
        Some(())
    }

    /// Waits for the gate to open; `None` where the other side goes before that.
    async fn gate(&mut self) -> Option<()> {
        tokio::select! {
            () = self.stage.gate() => Some(()),
            () = gone(self.stream) => None,
        }
    }

    async fn end(&mut self, answer: &Answer) -> Option<()> {
        match answer.end.map(|(ending, _)| ending) {
            Some(Ending::Close) => self.stream.shutdown().await.ok()?,
            Some(Ending::Reset) => self.stream.set_zero_linger().ok()?,
            // Until the other side gives up.
            Some(Ending::Hang) => while self.stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {},
            None => {}
        }
        None
    }
}

/// Waits until the other side has gone. In the middle of an answer it has nothing to say.
async fn gone(stream: &TcpStream) {
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}
