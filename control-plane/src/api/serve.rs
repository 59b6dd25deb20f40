//! Connections: runs HTTP/1.1 or HTTP/2 on them. What enters is connections whose client proved who it is; requests go to
//! `handle`. Bounds on connections, headers and times are here.

use super::{Api, ApiServer, garbage, namespaces};
use crate::listen::Incoming;
use crate::store::{CONTROLLERS, as_leader};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use mesh_mtls::ApiClient;
use mesh_process::{DrainSignal, Tasks};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

/// Most connections at once; further ones wait to be taken. People and tools, not sidecars, connect here.
const CONNECTIONS: usize = 1024;
/// From a request's first byte to the end of its headers, and the most a kept-alive connection idles.
const HEADER_TIME: Duration = Duration::from_secs(60);
/// Bytes of one request's head.
const HEADER_BYTES: usize = 64 * 1024;
/// Requests at once on one HTTP/2 connection; watches are among them.
const STREAMS: u32 = 250;
/// An HTTP/2 connection on which nothing is heard is asked, and closed when it does not answer in as long again.
const PING_PERIOD: Duration = Duration::from_secs(30);

async fn until_drained(drain: DrainSignal, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = drain.draining() => {}
    }
}

impl ApiServer {
    /// Serves until drained: then no connection is taken any more, watches end, and the requests under way finish.
    pub async fn serve(&self, mut connections: Incoming, tasks: &Tasks) {
        let (api, store) = (|| self.0.clone(), || self.0.store.clone());
        let (reaped, collected) = (api(), api());
        let reaping = as_leader(store(), CONTROLLERS, move || namespaces::reap(reaped.clone()));
        let collecting = as_leader(store(), CONTROLLERS, move || garbage::collect(collected.clone()));
        tasks.spawn("api-namespaces", until_drained(self.0.drain.clone(), reaping));
        tasks.spawn("api-garbage", until_drained(self.0.drain.clone(), collecting));
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        // The semaphore is never closed: the loop ends when the listener drains.
        while let Ok(place) = places.clone().acquire_owned().await {
            let Some(connection) = connections.next().await else { return };
            let (server, client, remote) = (self.clone(), connection.client().clone(), connection.remote());
            tasks.spawn("api-connection", async move {
                let _place = place;
                server.connection(connection, client, remote).await;
            });
        }
    }

    /// Serves one connection of a client that proved who it is, until either side ends it.
    pub(crate) async fn connection<IO>(&self, io: IO, client: ApiClient, remote: SocketAddr)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (api, client): (Arc<Api>, Arc<ApiClient>) = (self.0.clone(), Arc::new(client));
        let service = service_fn(move |request| {
            let (api, client) = (api.clone(), client.clone());
            async move { Ok::<_, Infallible>(api.handle(request, &client, remote).await) }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_PERIOD)
            .keep_alive_timeout(PING_PERIOD);
        let connection = builder.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.0.drain.draining() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection with the API ended early");
        }
    }
}
