//! A daemon, asked over its socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tonic::transport::Channel;

use super::convert::{self, Unintelligible};
use super::events::retell;
use super::failure::RemoteFailure;
use super::v1;
use super::v1::lighterman_client::LightermanClient;
use super::v1::pull_event::Event;
use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::diagnose::report::Report;
use crate::fetch::progress::Observer;
use crate::grpc::{MAX_MESSAGE, channel};
use crate::pull::{Planned, Pulled};
use crate::resolve::resolution::Resolution;

/// How long a daemon may take for its first answer. One that is alive takes milliseconds; one that
/// systemd is just starting for us, seconds.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Why a daemon could not be asked, or what it answered instead.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is nobody at the socket.
    #[error("no lighterman daemon answers at {address}: {source}", address = address.display())]
    Unreachable {
        /// The socket.
        address: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It takes connections, and says nothing.
    #[error(
        "the lighterman daemon at {address} takes connections, but has answered nothing for {} s",
        FIRST_ANSWER.as_secs(),
        address = address.display()
    )]
    Silent {
        /// The socket.
        address: PathBuf,
    },
    /// The daemon's own error.
    #[error(transparent)]
    Remote(RemoteFailure),
    /// It speaks something else.
    #[error(transparent)]
    Unintelligible(#[from] Unintelligible),
    /// The stream of a pull ended without a result.
    #[error("the lighterman daemon went away during the pull")]
    Gone,
}

impl Classify for ClientError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Gone => Kind::StoreUnavailable,
            Self::Remote(failure) => failure.kind(),
            Self::Unintelligible(_) => Kind::Internal,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Remote(failure) => failure.blame(),
            _ => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => Some(
                "only root and the daemon's group may use it: run this as root or as a member of that group, or \
                 give --address none to pull in this process"
                    .into(),
            ),
            Self::Unreachable { .. } => {
                Some("start it (systemctl start lighterman), or leave out --address to pull in this process".into())
            }
            Self::Silent { .. } => Some(
                "read its log (journalctl -u lighterman) and restart it (systemctl restart lighterman), or give \
                 --address none to pull in this process"
                    .into(),
            ),
            Self::Remote(failure) => failure.hint(),
            Self::Unintelligible(_) => Some("bring the daemon and this program to the same version".into()),
            Self::Gone => Some("pull again: it goes on from there".into()),
        }
    }

    fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Remote(failure) => failure.attempts(),
            _ => &[],
        }
    }
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Self::Remote(RemoteFailure::of(&status))
    }
}

/// A connection to a daemon.
#[derive(Debug, Clone)]
pub struct Client(LightermanClient<Channel>);

impl Client {
    /// Connects to the socket at `address`, and waits until the daemon answers.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] with the kernel's reason, and [`ClientError::Silent`] where
    /// nothing comes back.
    pub async fn connect(address: &Path) -> Result<Self, ClientError> {
        // tonic wraps the kernel's answer beyond recognition, so the socket is tried first.
        let tried = UnixStream::connect(address).await;
        tried.map_err(|source| ClientError::Unreachable { address: address.into(), source })?;
        let client = LightermanClient::new(channel(address, || {})).max_decoding_message_size(MAX_MESSAGE);
        let client = Self(client);
        // Whatever is asked next may take as long as its registry does, so this is what has to come soon.
        match tokio::time::timeout(FIRST_ANSWER, client.pulls()).await {
            Ok(answer) => answer.map(|_| client),
            Err(_) => Err(ClientError::Silent { address: address.into() }),
        }
    }

    /// The daemon's report on its host: the JSON document of `lighterman host --json`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn host(&self) -> Result<v1::GetHostResponse, ClientError> {
        Ok(self.0.clone().get_host(v1::GetHostRequest {}).await?.into_inner())
    }

    /// Asks what a reference stands for; a refusal that was to be explained is the second value.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resolve(
        &self,
        request: v1::ResolveRequest,
    ) -> Result<(Resolution, Option<RemoteFailure>), ClientError> {
        let mut answer = self.0.clone().resolve(request).await?.into_inner();
        let refusal = answer.refusal.take().map(RemoteFailure::from);
        Ok((answer.try_into()?, refusal))
    }

    /// Asks whether an image runs, and why not.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn diagnose(&self, request: v1::DiagnoseRequest) -> Result<Report, ClientError> {
        Ok(self.0.clone().diagnose(request).await?.into_inner().try_into()?)
    }

    /// Pulls; `observer` hears what happens. Dropping this cancels the pull.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pull(
        &self,
        request: v1::PullRequest,
        observer: &dyn Observer,
        on_planned: impl FnOnce(&Planned),
    ) -> Result<(Planned, Pulled, String), ClientError> {
        let mut events = self.0.clone().pull(request).await?.into_inner();
        let (mut on_planned, mut planned) = (Some(on_planned), None);
        while let Some(event) = events.message().await? {
            match event.event {
                Some(Event::Resolved(resolved)) => {
                    let told = Planned::try_from(resolved)?;
                    if let Some(on_planned) = on_planned.take() {
                        on_planned(&told);
                    }
                    planned = Some(told);
                }
                Some(Event::Pulled(pulled)) => {
                    let (pulled, destination) = convert::pulled(pulled)?;
                    let planned = planned.ok_or(Unintelligible("it pulled without saying what"))?;
                    return Ok((planned, pulled, destination));
                }
                Some(other) => retell(other, observer)?,
                // An event of a newer daemon.
                None => {}
            }
        }
        Err(ClientError::Gone)
    }

    /// The pulls that are under way.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pulls(&self) -> Result<Vec<v1::RunningPull>, ClientError> {
        Ok(self.0.clone().list_pulls(v1::ListPullsRequest {}).await?.into_inner().pulls)
    }

    /// Cancels a pull.
    ///
    /// # Errors
    /// [`ClientError`]; not found where there is none of this number.
    pub async fn cancel(&self, id: u64) -> Result<(), ClientError> {
        self.0.clone().cancel_pull(v1::CancelPullRequest { id }).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_a_daemon_that_says_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let address = folder.path().join("silent.sock");
        // Connections wait in its queue.
        let _listener = UnixListener::bind(&address).expect("binds");
        let error = Client::connect(&address).await.expect_err("it says nothing");
        assert!(matches!(error, ClientError::Silent { .. }), "{error}");
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.hint().is_some_and(|hint| hint.contains("systemctl restart lighterman")));
    }
}
