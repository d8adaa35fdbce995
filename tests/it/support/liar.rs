//! A scripted registry over real sockets, for what real registries never do on demand.
//!
//! It serves images honestly unless a reply is planned for a request; a planned reply is
//! used once, unless it is for [`Liar::always`]. Every request is on record before its reply
//! starts, and with it how many bytes were sent, so that what a program asked for, and what
//! it was sent twice, can be counted as soon as the program is done.

mod answer;
mod content;
mod record;
mod reply;
mod script;
mod wire;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

use super::fixture::Image;
use super::lighterman::Running;
use answer::Answer;
use script::{Passes, Script};

pub(crate) use content::Flood;
pub(crate) use record::{Request, connections, sent};
pub(crate) use reply::{At, Ending, RangeLie, Reply, When};

/// How often it is looked whether a program that is waited for still runs.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Stage {
    script: Mutex<Script>,
    heard: Condvar,
    gate: Notify,
}

impl Stage {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no panic under the lock")
    }

    /// Counts connections that are open.
    fn open(&self, change: isize) {
        let mut script = self.script();
        script.open = script.open.checked_add_signed(change).expect("each is closed once");
        self.heard.notify_all();
    }

    fn next_connection(&self) -> usize {
        let mut script = self.script();
        script.connections += 1;
        script.connections - 1
    }

    /// Puts a request on record and decides how to answer it.
    fn hear(&self, request: &Request) -> (Answer, usize) {
        let mut script = self.script();
        script.requests.push(request.clone());
        let number = script.requests.len() - 1;
        let answer = script.decide(request);
        self.heard.notify_all();
        (answer, number)
    }

    fn note(&self, number: usize, what: impl FnOnce(&mut Request)) {
        what(&mut self.script().requests[number]);
        self.heard.notify_all();
    }

    /// Waits until the gate is open.
    async fn gate(&self) {
        loop {
            let opened = self.gate.notified();
            if self.script().gate_is_open {
                return;
            }
            opened.await;
        }
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
                    () = wire::accept(listener, actors) => {}
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

    /// Serves a blob, in any repository, that is made while it is sent.
    pub(crate) fn add_flood(&self, flood: &Flood) {
        self.stage.script().floods.push(flood.clone());
    }

    /// Answers the next such requests so: those whose method and path contain a text
    /// (`GET /v2/app/blobs/`), or that a [`When`] describes.
    pub(crate) fn plan(&self, when: impl Into<When>, replies: impl IntoIterator<Item = Reply>) {
        self.stage.script().plan(when.into(), replies);
    }

    /// Answers all such requests so, unless something else is planned before.
    pub(crate) fn always(&self, when: impl Into<When>, reply: Reply) {
        self.stage.script().always(when.into(), reply);
    }

    /// Forgets what is planned, so that all is well again; the replies that nobody has got.
    #[cfg(feature = "containerd")]
    pub(crate) fn forget_plans(&self) -> Vec<Reply> {
        self.stage.script().forget_plans()
    }

    /// Planned replies that nobody has got yet; those for always do not count.
    pub(crate) fn unused(&self) -> usize {
        self.stage.script().unused()
    }

    /// Answers 401 with a Basic challenge unless this `Authorization` comes.
    pub(crate) fn require(&self, authorization: &str) {
        self.stage.script().wants_basic = Some(authorization.into());
    }

    /// Demands tokens of its own, each of which is good for so many requests.
    pub(crate) fn require_tokens(&self, uses: usize) {
        self.stage.script().tokens = Some(Passes::new(uses));
    }

    /// Takes only blobs' URLs that another registry has signed, each for so many requests.
    pub(crate) fn require_signatures(&self, uses: usize) {
        self.stage.script().signatures = Some(Passes::new(uses));
    }

    /// Takes no token or signature any more that was good until now.
    pub(crate) fn revoke(&self) {
        let mut script = self.stage.script();
        let Script { tokens, signatures, .. } = &mut *script;
        tokens.iter_mut().chain(signatures).for_each(Passes::revoke);
    }

    /// Sends whoever wants a blob to another registry, each time with a new signature.
    pub(crate) fn redirect_blobs_to(&self, storage: &Liar) {
        self.stage.script().storage = Some((storage.address(), 0));
    }

    /// Answers requests for blobs so while as many others as `most` are being answered.
    pub(crate) fn limit(&self, most: usize, refusal: Reply) {
        self.stage.script().limit = Some((most, refusal));
    }

    /// Lets all go on that wait at a gate, now and later.
    pub(crate) fn open_gate(&self) {
        self.stage.script().gate_is_open = true;
        self.stage.gate.notify_waiters();
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

    /// How many requests there were so far.
    #[cfg(feature = "containerd")]
    pub(crate) fn heard(&self) -> usize {
        self.stage.script().requests.len()
    }

    /// The requests after the first so many.
    #[cfg(feature = "containerd")]
    pub(crate) fn requests_after(&self, heard: usize) -> Vec<Request> {
        self.stage.script().requests[heard..].to_vec()
    }

    /// The requests whose method and path contain `part`.
    pub(crate) fn requests_for(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.line().contains(part)).collect()
    }

    /// The most requests for blobs that were being answered at a time.
    pub(crate) fn busiest(&self) -> usize {
        self.stage.script().busiest
    }

    /// Waits until a request whose method and path contain `part` has come.
    pub(crate) fn wait_for(&self, part: &str) {
        let script = self.stage.script();
        let heard = |script: &mut Script| script.requests.iter().any(|request| request.line().contains(part));
        drop(self.stage.heard.wait_while(script, |script| !heard(script)).expect("no panic under the lock"));
    }

    /// Waits until all connections have ended, whose other sides are gone, so that what they
    /// sent is on record.
    pub(crate) fn settle(&self) {
        // Behind all that were made before.
        let mut own = TcpStream::connect(self.address).expect("it listens");
        own.write_all(b"GET /settled HTTP/1.1\r\nconnection: close\r\n\r\n").expect("it reads");
        let mut answer = [0; 64];
        assert!(own.read(&mut answer).expect("it answers") > 0);
        drop(own);
        let script = self.stage.script();
        let settled = self.stage.heard.wait_while(script, |script| script.open > 0);
        drop(settled.expect("no panic under the lock"));
    }

    /// Waits until what is on record is so; false where the program ended before that.
    pub(crate) fn wait_until(&self, running: &mut Running, so: impl Fn(&[Request]) -> bool) -> bool {
        let mut script = self.stage.script();
        loop {
            if so(&script.requests) {
                return true;
            }
            if running.has_ended() {
                return false;
            }
            script = self.stage.heard.wait_timeout(script, LOOK).expect("no panic under the lock").0;
        }
    }
}
