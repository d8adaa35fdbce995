//! Conversations with scripted servers over real sockets.

mod auth;
mod blobs;
mod hostile;
mod pushes;
mod redirects;
mod support;
mod tls;
mod transfer;
