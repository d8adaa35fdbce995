//! Talking to ONE remote: a registry or a mirror of one.
//!
//! This room turns a reference and a [`Host`] into HTTP requests and checked replies:
//! transport and TLS, the `WWW-Authenticate` dance, tokens, credentials, redirects, and
//! the reading of containerd's `hosts.toml`. It knows the OCI distribution protocol and
//! nothing of what the bytes mean.
//!
//! What it must not do: retry (but for the one repeat that an answer calls for: a 401
//! challenge, an expired redirect, ranges that are not served, plain text instead of TLS),
//! choose between hosts, start tasks, or write anything to disk. `fetch` has the one retry
//! loop, and it checks digests.
//!
//! ```text
//! hosts_for(reference, options) -> [Host]        which remotes, in which order
//! Client::head_manifest | manifest | blob | …    one question to one of them
//!   authorizer: what is known of this host -> Authorization
//!   transport:  pool, TLS, redirects by hand
//!   reply:      status and headers -> descriptor, range, error
//! Client::source -> BlobSource::open(range)      one blob of one of them, in parts
//! Client::put_manifest | mount | upload          one thing to one of them
//! ```
//!
//! Credentials go to the host that they are for and nowhere else: see [`credentials`] for
//! which host gets which, and `transport` for what a redirect may carry.
//!
//! Specifications: OCI distribution-spec; distribution's token and OAuth2 documents;
//! containerd's docs/hosts.md.

mod authorizer;
mod blob;
pub mod challenge;
mod client;
mod content;
pub mod credentials;
mod dial;
mod error;
pub mod hosts;
mod listing;
mod pace;
mod plain;
mod push;
mod reach;
mod remembered;
pub mod reply;
mod secret;
mod tls;
mod token;
mod transport;
mod unranged;

#[cfg(test)]
mod tests;

pub use blob::{BlobSource, BlobStream};
pub use client::{Client, ManifestReply};
pub use content::Content;
pub use credentials::{Audience, Credential, Credentials, CredentialsError};
pub use error::{Reason, RegistryError, SizeClaim, Stage};
pub use hosts::{Capabilities, ClientCertificate, Host, HostOptions, HostsError, Operation, Scheme, hosts_for};
pub use listing::Listing;
pub use reach::{Near, Reach};
pub use secret::Secret;
pub use tls::{Pem, TlsError, TlsSettings, Verification};
