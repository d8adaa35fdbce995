//! The listeners of doors that speak HTTP over TCP.

use std::net::{SocketAddr, TcpListener as StdListener};

use tokio::net::TcpListener;

use super::AppError;

/// The listeners of one door: those that systemd holds for it, so that nobody else can take the
/// ports while the daemon is down, else those of the configuration.
///
/// # Errors
/// [`AppError::Address`]; then nobody listens at any of them.
pub async fn listeners(addresses: &[SocketAddr], inherited: Vec<StdListener>) -> Result<Vec<TcpListener>, AppError> {
    let mut listeners = Vec::new();
    for listener in inherited {
        let address = listener.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
        let taken = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        listeners.push(taken.map_err(|source| AppError::Address { address, source })?);
    }
    if !listeners.is_empty() {
        return Ok(listeners);
    }
    for address in addresses {
        let bound = TcpListener::bind(address).await;
        listeners.push(bound.map_err(|source| AppError::Address { address: *address, source })?);
    }
    Ok(listeners)
}
