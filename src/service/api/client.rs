//! A daemon, asked over its socket.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::convert::{self, Unintelligible};
use super::events::retell;
use super::failure::RemoteFailure;
use super::v1::lighterman_client::LightermanClient;
use super::v1::pull_event::Event;
use super::{MAX_MESSAGE, v1};
use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::fetch::progress::Observer;
use crate::pull::{Planned, Pulled};
use crate::resolve::resolution::Resolution;

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
            Self::Unreachable { .. } | Self::Gone => Kind::StoreUnavailable,
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
            Self::Unreachable { .. } => {
                Some("start it (systemctl start lighterman), or leave out --address to pull in this process".into())
            }
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
    /// Connects to the socket at `address`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] with the kernel's reason.
    pub async fn connect(address: &Path) -> Result<Self, ClientError> {
        let unreachable = |source| ClientError::Unreachable { address: address.into(), source };
        let stream = UnixStream::connect(address).await.map_err(unreachable)?;
        // The one connection that was made; the channel asks for another only when it broke.
        let mut first = Some(stream);
        let path = address.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let (first, path) = (first.take(), path.clone());
            async move {
                let stream = match first {
                    Some(stream) => stream,
                    None => UnixStream::connect(path).await?,
                };
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        // The name means nothing on a Unix socket, but HTTP/2 wants one.
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|error| unreachable(std::io::Error::other(error)))?;
        Ok(Self(LightermanClient::new(channel).max_decoding_message_size(MAX_MESSAGE)))
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
