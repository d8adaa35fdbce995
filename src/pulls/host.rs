//! This node, as far as containerd says what it matches images with.

use std::ops::Deref;
use std::time::Duration;

use super::Pulls;
use crate::host::{LocalHost, System};

/// How long containerd may take to say what it matches with; alive, it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

impl Pulls {
    /// This node. Until containerd has said what it matches with, it is asked each time.
    pub async fn host(&self) -> HostView<'_> {
        if let Some(known) = self.0.host.get() {
            return HostView::Known(known);
        }
        let host = LocalHost::new(Box::new(System::default()));
        // Everybody asks for himself, so that nobody waits for more than his own question.
        match tokio::time::timeout(PATIENCE, self.0.places.platform()).await {
            Ok(Ok(platform)) => {
                let told = match platform {
                    Some(platform) => host.with_containerd(platform),
                    None => host,
                };
                HostView::Known(self.0.host.get_or_init(|| async { told }).await)
            }
            Ok(Err(error)) => {
                tracing::info!("containerd could not be asked what it matches with: {error}");
                HostView::Guessed(Box::new(host))
            }
            Err(_) => {
                tracing::info!("containerd does not say what it matches with");
                HostView::Guessed(Box::new(host))
            }
        }
    }
}

/// This node, as far as it is known.
#[derive(Debug)]
pub enum HostView<'a> {
    /// With containerd's own view.
    Known(&'a LocalHost),
    /// Without it, since it does not answer.
    Guessed(Box<LocalHost>),
}

impl Deref for HostView<'_> {
    type Target = LocalHost;

    fn deref(&self) -> &LocalHost {
        match self {
            Self::Known(host) => host,
            Self::Guessed(host) => host,
        }
    }
}
