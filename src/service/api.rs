//! Our own gRPC API, `proto/lighterman/v1`, from both ends.
//!
//! [`server`] answers with what [`crate::pulls`] does; [`client`] is how the command line asks a
//! daemon. Both sides speak in the values of the house, and `convert` and `failure` are the
//! only places that know how those look as messages. Nothing is decided here.

pub mod client;
mod convert;
mod diagnosis;
mod events;
mod failure;
mod request;
pub mod server;

#[cfg(test)]
mod tests;

pub use failure::{RemoteFailure, status};

/// The messages and the service of `proto/lighterman/v1`.
pub use super::generated::lighterman as v1;

/// Descriptions of every protocol in `proto/`, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");

/// Name of our service, for health checks.
pub const SERVICE: &str = v1::lighterman_server::SERVICE_NAME;
