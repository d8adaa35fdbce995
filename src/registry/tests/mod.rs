//! Conversations with scripted servers over real sockets.

mod auth;
mod redirects;
mod support;
mod tls;
mod transfer;
