//! One discovery stream, as two ends: requests go in without ever waiting, responses come out. Pure transport: what
//! they say is [`super::session`]'s.

use crate::control_plane::words_of;
use mesh_protocol::wire::discovery as wire;
use mesh_protocol::wire::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

/// Requests that may wait for the network: a session sends a few at a time and one for each response, so a control
/// plane that lets this many pile up does not read any more.
const REQUESTS_MAX: usize = 256;
/// From the first request to the first sign of an answer.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// Largest response: the first answer to a collection brings all of it, some 300 bytes an endpoint.
const RESPONSE_MAX: usize = 64 * 1024 * 1024;

/// Why a stream ended or never began.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The control plane ended it with an error, or the connection is lost.
    #[error("{0}")]
    Status(String),
    /// The control plane ended it in order, as it does when it stops.
    #[error("the control plane ended the stream")]
    Ended,
    /// It did not answer.
    #[error("no answer within {} s", OPEN_DEADLINE.as_secs())]
    Deadline,
    /// It does not read.
    #[error("the control plane reads no more requests")]
    Stuck,
}

/// The end requests go into.
#[derive(Debug)]
pub(crate) struct Requests(mpsc::Sender<wire::DeltaDiscoveryRequest>);

/// What [`open`] needs to begin.
#[derive(Debug)]
pub(crate) struct Queued(mpsc::Receiver<wire::DeltaDiscoveryRequest>);

/// The end responses come out of.
#[derive(Debug)]
pub(crate) struct Responses(Streaming<wire::DeltaDiscoveryResponse>);

/// A place for requests; they are sent once [`open`] is called with its other end.
pub(crate) fn queue() -> (Requests, Queued) {
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    (Requests(sender), Queued(receiver))
}

/// Opens the stream. The first requests are queued before: the control plane may answer nothing until it has them.
///
/// # Errors
/// [`LinkError`].
pub(crate) async fn open(channel: Channel, queued: Queued) -> Result<Responses, LinkError> {
    let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(RESPONSE_MAX);
    let opening = client.delta_aggregated_resources(ReceiverStream::new(queued.0));
    let opened =
        tokio::time::timeout(OPEN_DEADLINE, opening).await.map_err(|_elapsed| LinkError::Deadline)?;
    let response = opened.map_err(|status| LinkError::Status(words_of(&status)))?;
    Ok(Responses(response.into_inner()))
}

impl Requests {
    /// Sends without waiting.
    ///
    /// # Errors
    /// [`LinkError::Stuck`] when the control plane has not read for long, or the stream is over.
    pub(crate) fn send(&self, request: wire::DeltaDiscoveryRequest) -> Result<(), LinkError> {
        self.0.try_send(request).map_err(|_refused| LinkError::Stuck)
    }
}

impl Responses {
    /// The next response. HTTP/2 keepalive ends the wait when the control plane is gone.
    ///
    /// # Errors
    /// [`LinkError`]; the stream is over then.
    ///
    /// # Cancel safety
    /// No response is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<wire::DeltaDiscoveryResponse, LinkError> {
        match self.0.message().await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(LinkError::Ended),
            Err(status) if status.code() == Code::Ok => Err(LinkError::Ended),
            Err(status) => Err(LinkError::Status(words_of(&status))),
        }
    }
}
