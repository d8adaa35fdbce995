//! A token server, as registries send their clients to one.
//!
//! Specification: Distribution's "Docker Registry v2 authentication via central service"
//! and "OAuth2 token authentication". Tokens are JWTs signed with ES256 that carry their
//! certificate (`x5c`), which docker-registry checks against `rootcertbundle`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, SigningKey as _};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::fixture::base64;
use super::registry::{PASSWORD, USER};

/// The refresh token that the server knows.
pub(crate) const REFRESH_TOKEN: &str = "standing-order-4711";

/// Whom the server gives tokens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Everybody may pull.
    Anonymous,
    /// [`USER`] may pull, by GET or POST; the [`REFRESH_TOKEN`] too.
    Users,
    /// [`USER`] may pull, by GET only: the server does not know OAuth2's POST.
    UsersByGet,
    /// [`USER`] may pull and push, everybody else may pull.
    Writers,
}

/// One request for a token.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Every scope, as sent.
    pub(crate) scopes: Vec<String>,
    /// Who asked, whether or not they proved it; empty for nobody.
    pub(crate) user: String,
    /// OAuth2's `grant_type`; empty for GET.
    pub(crate) grant: String,
}

struct Desk {
    policy: Policy,
    key: KeyPair,
    certificate: rcgen::Certificate,
    asked: Mutex<Vec<Asked>>,
    stale: Mutex<u32>,
}

/// A running token server; it ends when this is dropped.
pub(crate) struct TokenServer {
    desk: Arc<Desk>,
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl TokenServer {
    /// What registries call themselves here.
    pub(crate) const SERVICE: &'static str = "lighterman-test-registry";
    /// What the server calls itself.
    pub(crate) const ISSUER: &'static str = "lighterman-test-tokens";

    /// Starts a server.
    pub(crate) fn start(policy: Policy) -> Self {
        let key = KeyPair::generate().expect("a key pair");
        let params = CertificateParams::new(vec!["tokens".into()]).expect("a well-formed name");
        let certificate = params.self_signed(&key).expect("a self-signed certificate");
        let desk = Arc::new(Desk { policy, key, certificate, asked: Mutex::default(), stale: Mutex::default() });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("a bound address");
        let (stop, stopped) = oneshot::channel::<()>();
        let app = Router::new().route("/token", get(serve).post(serve)).with_state(Arc::clone(&desk));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listening socket");
                tokio::select! {
                    served = axum::serve(listener, app) => served.expect("the token server serves"),
                    _ = stopped => {}
                }
            });
        });
        Self { desk, address, _stop: stop }
    }

    /// Makes the next `count` tokens expired ones, which the registry refuses.
    pub(crate) fn hand_out_stale(&self, count: u32) {
        *self.desk.stale.lock().expect("no panic under the lock") = count;
    }

    /// The URL that a registry names as its realm.
    pub(crate) fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// The certificate that tokens are signed with, PEM.
    pub(crate) fn certificate(&self) -> String {
        self.desk.certificate.pem()
    }

    /// A token for the tests' own client: push and pull of the fixtures' repository names.
    pub(crate) fn master_key(&self) -> String {
        let access: Vec<Value> = ["app", "parts", "private/app", "library/busybox"]
            .map(|name| json!({ "type": "repository", "name": name, "actions": ["pull", "push"] }))
            .into();
        self.desk.sign("test", &access, 3600)
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.desk.asked.lock().expect("no panic under the lock").clone()
    }
}

impl Desk {
    /// A JWT that ends `lifetime` seconds from now.
    fn sign(&self, subject: &str, access: &[Value], lifetime: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs().cast_signed();
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(self.certificate.der())] });
        let claims = json!({
            "iss": TokenServer::ISSUER, "aud": TokenServer::SERVICE, "sub": subject, "jti": format!("{now}-{subject}"),
            "iat": now - 600, "nbf": now - 600, "exp": now + lifetime, "access": access,
        });
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(fixed_width(&signature)))
    }

    fn knows(&self, user: &str, password: &str) -> bool {
        user == USER && password == PASSWORD
    }

    fn next_lifetime(&self) -> i64 {
        let mut stale = self.stale.lock().expect("no panic under the lock");
        if *stale == 0 {
            return 300;
        }
        *stale -= 1;
        // docker-registry allows for a minute of clock skew.
        -300
    }
}

/// ECDSA's DER `SEQUENCE { r, s }` as JOSE wants it: both numbers in 32 bytes each.
fn fixed_width(der: &[u8]) -> [u8; 64] {
    let r_length = usize::from(der[3]);
    let (r, s) = (&der[4..4 + r_length], &der[6 + r_length..]);
    let mut fixed = [0; 64];
    for (number, end) in [(r, 32), (s, 64)] {
        let digits = &number[number.len().saturating_sub(32)..];
        fixed[end - digits.len()..end].copy_from_slice(digits);
    }
    fixed
}

async fn serve(
    State(desk): State<Arc<Desk>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, [(header::HeaderName, &'static str); 1], String) {
    let (status, reply) = desk.answer(&method, &uri, &headers, &body);
    (status, [(header::CONTENT_TYPE, "application/json")], reply.to_string())
}

impl Desk {
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &str) -> (StatusCode, Value) {
        let form = if method == Method::POST { body } else { uri.query().unwrap_or_default() };
        let fields = reqwest::Url::parse(&format!("http://form/?{form}")).expect("a form");
        let field = |name: &str| fields.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
        let basic = basic_credentials(headers);
        let (user, password) =
            basic.unwrap_or_else(|| (field("username").unwrap_or_default(), field("password").unwrap_or_default()));
        let scopes: Vec<String> = fields
            .query_pairs()
            .filter(|(name, _)| name == "scope")
            .flat_map(|(_, value)| value.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let grant = field("grant_type").unwrap_or_default();
        let asked =
            Asked { method: method.to_string(), scopes: scopes.clone(), user: user.clone(), grant: grant.clone() };
        self.asked.lock().expect("no panic under the lock").push(asked);
        if method == Method::POST && self.policy == Policy::UsersByGet {
            return (StatusCode::METHOD_NOT_ALLOWED, json!({ "details": "no POST here" }));
        }
        if field("service").as_deref() != Some(TokenServer::SERVICE) {
            return (StatusCode::BAD_REQUEST, json!({ "details": "unknown service" }));
        }
        let refreshed = grant == "refresh_token" && field("refresh_token").as_deref() == Some(REFRESH_TOKEN);
        let known = refreshed || self.knows(&user, &password);
        let nobody = user.is_empty() && grant.is_empty();
        if !(known || nobody) {
            return (StatusCode::UNAUTHORIZED, json!({ "details": "wrong user name or password" }));
        }
        // As real servers do: nobody gets a token too, only one that opens nothing.
        let granted = known || matches!(self.policy, Policy::Anonymous | Policy::Writers);
        let writes = known && self.policy == Policy::Writers;
        let access: Vec<Value> =
            if granted { scopes.iter().filter_map(|s| access(s, writes)).collect() } else { Vec::new() };
        let token = self.sign(&user, &access, self.next_lifetime());
        (StatusCode::OK, json!({ "token": token, "access_token": token, "expires_in": 300 }))
    }
}

/// `repository:NAME:pull` as an access entry, `repository:NAME:pull,push` for who may do that;
/// `private/…` never opens.
fn access(scope: &str, writes: bool) -> Option<Value> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    let pull = actions.split(',').any(|action| action == "pull") && !name.starts_with("private/");
    let push = writes && actions.split(',').any(|action| action == "push");
    let actions: &[&str] = if push { &["pull", "push"] } else { &["pull"] };
    pull.then(|| json!({ "type": "repository", "name": name, "actions": actions }))
}

fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    decoded.split_once(':').map(|(user, password)| (user.into(), password.into()))
}

/// The `auths` entry of a docker config.json for a registry.
pub(crate) fn docker_auth(address: &str, user: &str, password: &str) -> Value {
    json!({ "auths": { address: { "auth": base64(&format!("{user}:{password}")) } } })
}
