//! The gRPC origin: `outrigger.demo.Greeter`, unary and streaming. A failing answer is UNAVAILABLE in trailers alone.

use super::http::{Tonic, serve_connection};
use super::misbehave::{Failures, Misbehave};
use super::{Listen, listen};
use crate::greeter::greeter_server::{Greeter, GreeterServer};
use crate::greeter::{HelloReply, HelloRequest, ManyHellosRequest};
use anyhow::Result;
use clap::Args;
use futures_util::stream::{self, Stream, StreamExt};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// Most greetings one `SayManyHellos` may ask for.
const MOST_GREETINGS: u32 = 1_000_000;

/// The flags of the gRPC server.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    misbehave: Misbehave,
}

/// Serves until a signal.
///
/// # Errors
/// The address cannot be bound.
pub fn run(options: Options) -> Result<()> {
    let listening = options.listen.clone();
    listen::serve(&listening, listen::Accept::Concurrently, move || {
        let service = GreeterServer::new(Answers {
            name: options.listen.name.clone(),
            delay: options.misbehave.delay(),
            failures: Arc::new(Mutex::new(options.misbehave.failures())),
        });
        Ok(move |stream, drain| serve_connection(stream, Tonic(service.clone()), drain))
    })
}

/// The greeter. The lock guards the failure counter, is never contended (one thread serves) and never held over an
/// await; tonic asks for `Sync`.
#[derive(Debug, Clone)]
struct Answers {
    name: String,
    delay: Option<Duration>,
    failures: Arc<Mutex<Failures>>,
}

type Replies = Pin<Box<dyn Stream<Item = Result<HelloReply, Status>> + Send>>;

impl Answers {
    async fn admit(&self) -> Result<(), Status> {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
        match self.failures.lock().unwrap_or_else(PoisonError::into_inner).next_fails() {
            true => Err(Status::unavailable("failing as asked by --fail-rate")),
            false => Ok(()),
        }
    }

    fn greet(&self, name: &str) -> HelloReply {
        HelloReply { message: format!("Hello {name}"), instance: self.name.clone() }
    }
}

#[tonic::async_trait]
impl Greeter for Answers {
    async fn say_hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        self.admit().await?;
        Ok(Response::new(self.greet(&request.get_ref().name)))
    }

    type SayManyHellosStream = Replies;

    async fn say_many_hellos(
        &self,
        request: Request<ManyHellosRequest>,
    ) -> Result<Response<Self::SayManyHellosStream>, Status> {
        self.admit().await?;
        let ManyHellosRequest { name, count, interval_ms } = request.into_inner();
        if count > MOST_GREETINGS {
            return Err(Status::invalid_argument(format!("count is {count}; at most {MOST_GREETINGS}")));
        }
        let reply = self.greet(&name);
        let replies = stream::iter(0..count).then(move |index| {
            let reply = reply.clone();
            async move {
                if index > 0 && interval_ms > 0 {
                    tokio::time::sleep(Duration::from_millis(interval_ms.into())).await;
                }
                Ok(reply)
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    type ChatStream = Replies;

    async fn chat(
        &self,
        request: Request<Streaming<HelloRequest>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        self.admit().await?;
        let answers = self.clone();
        let replies = request.into_inner().map(move |asked| asked.map(|asked| answers.greet(&asked.name)));
        Ok(Response::new(Box::pin(replies)))
    }
}
