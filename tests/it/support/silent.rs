//! Hosts that cannot be spoken to: one that never greets, one that nobody reaches, one that
//! nobody should trust.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::certs::Identity;

/// A listening socket that counts who comes.
pub(crate) struct Silent {
    address: SocketAddr,
    visitors: Arc<AtomicUsize>,
}

impl Silent {
    /// Takes connections and says nothing, ever.
    pub(crate) fn mute() -> Self {
        let mut kept = Vec::new();
        Self::start(move |stream| kept.push(stream))
    }

    /// Greets with a certificate, and ends the connection after the handshake.
    pub(crate) fn impostor(identity: &Identity) -> Self {
        let chain = CertificateDer::pem_file_iter(&identity.certificate).expect("a certificate file");
        let chain: Vec<_> = chain.map(|certificate| certificate.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_no_client_auth();
        let config = Arc::new(builder.with_single_cert(chain, key).expect("a certificate and its key"));
        Self::start(move |mut stream| {
            let mut session = ServerConnection::new(Arc::clone(&config)).expect("a session");
            // It fails as soon as the other side sees with whom it speaks.
            while session.is_handshaking() && session.complete_io(&mut stream).is_ok() {}
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.read(&mut [0; 64]);
        })
    }

    fn start(mut serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let visitors = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visitors);
        // It ends with the test program; there is nothing to wait for.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                serve(stream);
            }
        });
        Self { address, visitors }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Connections so far.
    pub(crate) fn visitors(&self) -> usize {
        self.visitors.load(Ordering::SeqCst)
    }
}

/// An address at which nobody is reached: what knocks is dropped, as by a firewall.
pub(crate) struct BlackHole {
    address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _queued: Vec<TcpStream>,
    _runtime: tokio::runtime::Runtime,
}

impl BlackHole {
    /// A listening socket whose queue is full.
    pub(crate) fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let entered = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let listener = socket.listen(1).expect("listens");
        drop(entered);
        let address = listener.local_addr().expect("a bound address");
        let knock = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let queued: Vec<_> = std::iter::from_fn(|| knock().ok()).take(64).collect();
        assert!(queued.len() < 64, "the queue of a listening socket never gets full here");
        Self { address, _listener: listener, _queued: queued, _runtime: runtime }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}
