//! Calls with one request and one answer. What is answered is a tonic service's affair; here its request is read, bounded
//! in size and time, and its answer sent.

use super::streaming::{refuse, send_bytes, trailers};
use crate::peer::PeerIdentity;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Full;
use mesh_http2::{RecvStream, Responder};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service;

/// Bytes of a request: a certificate request is one or two KiB.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// From a request's head to its end.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Answers one call.
pub(super) async fn answer(
    mut routes: Routes,
    request: Request<RecvStream>,
    peer: PeerIdentity,
    responder: Responder,
) {
    let (mut head, stream) = request.into_parts();
    head.extensions.insert(peer);
    let whole = match tokio::time::timeout(REQUEST_TIME, whole(stream)).await {
        Ok(Ok(whole)) => whole,
        Ok(Err(status)) => return refuse(responder, &status),
        Err(_elapsed) => {
            let seconds = REQUEST_TIME.as_secs();
            return refuse(
                responder,
                &Status::deadline_exceeded(format!("the request did not come within {seconds} s")),
            );
        }
    };
    let request = Request::from_parts(head, Body::new(Full::new(whole)));
    // Such a service has no error but a status in its answer.
    let Ok(response) = routes.call(request).await;
    let (head, mut body) = response.into_parts();
    let head = Response::from_parts(head, ());
    if body.is_end_stream() {
        responder.send(&head).ok();
        return;
    }
    let Ok(mut stream) = responder.send_head(&head) else { return };
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(status) => {
                stream.send_trailers(trailers(&status)).ok();
                return;
            }
        };
        match frame.into_data() {
            Ok(data) => {
                if !send_bytes(&mut stream, data).await {
                    return;
                }
            }
            Err(frame) => {
                if let Ok(last) = frame.into_trailers() {
                    stream.send_trailers(last).ok();
                    return;
                }
            }
        }
    }
    stream.send_data(Bytes::new(), true).ok();
}

async fn whole(mut stream: RecvStream) -> Result<Bytes, Status> {
    let mut whole = BytesMut::new();
    while let Some(data) = poll_fn(|cx| stream.poll_data(cx)).await {
        let data = data.map_err(|error| Status::unavailable(error.to_string()))?;
        if whole.len() + data.len() > REQUEST_BYTES_MAX {
            let message = format!("a request may have at most {REQUEST_BYTES_MAX} bytes");
            return Err(Status::resource_exhausted(message));
        }
        stream.release(data.len());
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
