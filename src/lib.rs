//! lighterman pulls multi-arch container images right and fast, next to a node's container
//! runtime: it knows what the CPU runs, picks the manifest for it out of an index, fetches
//! layers concurrently, verifies every byte, and lands the image in containerd or in an OCI
//! image layout.
//!
//! The rooms of the house, in the order in which they may know each other; a test keeps
//! them to it:
//!
//! ```text
//! core       pure values and decisions: references, digests, platforms, selection, retry
//! accept     connections taken, also where file descriptors have run out
//! cpu        the pool of threads that hash, inflate and unpack
//! grpc       channels over Unix sockets
//! host       what this node can run, and how that is known
//! loopback   HTTP at this machine's own addresses: who is heard, how many, for how long
//! registry   one question to one remote: TLS, auth, redirects, ranges
//! store      where verified blobs and names live: OCI layout, containerd
//! fetch      the engine: descriptors in, verified blobs in a store out; the one retry loop
//! unpack     layers to snapshots
//! diagnose   what an image claims against what is in it
//! resolve    reference to manifest, or a refusal that says what to do
//! publish    an index into a registry: made, corrected, shown, pushed when told to
//! pull       the use case: resolve, fetch, unpack, name
//! pulls      every pull of a daemon: shared engine and containerd, the list of what is under way
//! service    protocol adapters: own gRPC API, CRI, the mirror, a differ; error kind to codes
//! node       the node around the daemon: systemd, callers, setup, doctor
//! app        the daemon: from settings to bound sockets, until it is told to stop
//! telemetry  logs and metrics
//! config     the configuration file
//! demo, cli  the program around it
//! ```
//!
//! A pull flows one way: bytes become types at the door ([`core`]), a tag becomes a verified
//! root document ([`resolve`]), the chosen manifest's blobs become staged files and then
//! [`Verified`](core::digest::Verified) ones ([`fetch`]), and only those enter a
//! [`store::Store`], whose last step is the name.

pub mod accept;
#[cfg(feature = "containerd")]
pub mod app;
pub mod cli;
pub mod config;
pub mod core;
pub mod cpu;
pub mod demo;
pub mod diagnose;
pub mod fetch;
#[cfg(feature = "containerd")]
pub mod grpc;
pub mod host;
pub mod loopback;
pub mod node;
pub mod publish;
pub mod pull;
#[cfg(feature = "containerd")]
pub mod pulls;
pub mod registry;
pub mod resolve;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod unpack;
