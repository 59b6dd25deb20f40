//! The members of an etcd cluster as one thing to call. All calls share the connection to one member; when it fails, or is
//! cut off from the others, the next member's turn comes. A call that changes nothing is made again there; one that may
//! have changed something is not, since nobody can tell whether it did.

use super::endpoint::{ConnectError, EtcdEndpoint, EtcdTls};
use super::metrics::Metrics;
use crate::store::StoreError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// For one call to one member: it must write to disk on a quorum, which takes milliseconds.
const CALL: Duration = Duration::from_secs(2);
/// For all tries of one call: an election among members takes a second or two.
const ALL_TRIES: Duration = Duration::from_secs(6);
/// Between tries, when every member was asked.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of one answer: a page of a list, whose objects are at most 1.5 MiB in etcd.
pub(super) const ANSWER_MAX: usize = 256 * 1024 * 1024;

/// How to reach an etcd cluster.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// Its members; at least one.
    pub endpoints: Vec<EtcdEndpoint>,
    /// The certificates for `https`.
    pub tls: EtcdTls,
    /// What all keys begin with.
    pub prefix: String,
}

/// The cluster.
pub(super) struct Cluster {
    endpoints: Vec<EtcdEndpoint>,
    tls: EtcdTls,
    /// Held while a connection is made, so that one is made for all who wait.
    current: Mutex<Current>,
    /// The number of the connection in use; higher means that an older one is given up.
    generation: watch::Sender<u64>,
    metrics: Metrics,
}

struct Current {
    link: Option<Link>,
    /// Whose turn it is.
    place: usize,
}

/// A connection to one member.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) channel: Channel,
    pub(super) generation: u64,
    endpoint: Arc<str>,
}

/// What a failed call means.
enum Fault {
    /// Nothing has happened, and another member may do better.
    Elsewhere(String),
    /// It may have happened.
    Unknown(String),
    /// It did not happen, and will not.
    Final(StoreError),
}

impl Cluster {
    pub(super) fn new(options: &EtcdOptions, metrics: Metrics) -> Self {
        Self {
            endpoints: options.endpoints.clone(),
            tls: options.tls.clone(),
            // Replicas begin with different members, so that not all sit on one.
            current: Mutex::new(Current { link: None, place: random_place(options.endpoints.len()) }),
            generation: watch::Sender::new(0),
            metrics,
        }
    }

    /// The connection in use, or a new one to the first member that answers.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] with what went wrong at each member.
    pub(super) async fn link(&self) -> Result<Link, StoreError> {
        let mut current = self.current.lock().await;
        if let Some(link) = current.link.as_ref().filter(|link| link.generation == *self.generation.borrow())
        {
            return Ok(link.clone());
        }
        let mut attempts = Vec::new();
        for _ in 0..self.endpoints.len() {
            let place = current.place % self.endpoints.len();
            let Some(endpoint) = self.endpoints.get(place) else { break };
            match endpoint.connect(&self.tls).await {
                Ok(channel) => {
                    let endpoint = endpoint.to_string();
                    tracing::info!(endpoint, "connected to etcd");
                    let generation = *self.generation.borrow();
                    let link = Link { channel, generation, endpoint: endpoint.into() };
                    current.link = Some(link.clone());
                    return Ok(link);
                }
                Err(error) => {
                    attempts.push((endpoint, error));
                    current.place = place + 1;
                }
            }
        }
        Err(StoreError::Unreachable(format!("no member of etcd can be reached: {}", Attempts(&attempts))))
    }

    /// Gives a connection up, unless that was done already. The next member's turn comes.
    pub(super) async fn give_up(&self, link: &Link, why: &str) {
        let mut current = self.current.lock().await;
        if link.generation == *self.generation.borrow() {
            tracing::warn!(endpoint = %link.endpoint, why, "a member of etcd fails; going to another");
            self.metrics.failures.inc();
            current.link = None;
            current.place += 1;
            self.generation.send_modify(|generation| *generation += 1);
        }
    }

    /// Ends when a connection has been given up.
    pub(super) async fn given_up(&self, link: &Link) {
        // The sender lives as long as this value.
        drop(self.generation.subscribe().wait_for(|now| *now != link.generation).await);
    }

    /// Makes a call that changes nothing, on one member after the other until one answers.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when none does in time, or what etcd said that no other member would say otherwise.
    pub(super) async fn ask<T, F>(&self, call: impl Fn(Channel) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.attempt(call, true).await
    }

    /// Makes a call that may change something: once, but for members that say that they did nothing.
    ///
    /// # Errors
    /// As for [`Cluster::ask`], and [`StoreError::Unavailable`] when it may or may not have happened.
    pub(super) async fn change<T, F>(&self, call: impl Fn(Channel) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.attempt(call, false).await
    }

    async fn attempt<T, F>(&self, call: impl Fn(Channel) -> F, may_repeat: bool) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + ALL_TRIES;
        let mut tries = 0;
        loop {
            tries += 1;
            let why = match self.link().await {
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => None,
                Ok(link) => {
                    let timer = self.metrics.seconds.start_timer();
                    let outcome = match tokio::time::timeout(CALL, call(link.channel.clone())).await {
                        Ok(outcome) => outcome,
                        Err(_elapsed) => Err(Status::deadline_exceeded("no answer in time")),
                    };
                    timer.observe_duration();
                    let fault = match outcome {
                        Ok(answer) => return Ok(answer),
                        Err(status) => fault(&status),
                    };
                    match fault {
                        Fault::Final(error) => return Err(error),
                        Fault::Unknown(why) => {
                            self.give_up(&link, &why).await;
                            if !may_repeat {
                                return Err(StoreError::Unavailable(format!("etcd: {why}")));
                            }
                            Some(why)
                        }
                        Fault::Elsewhere(why) => {
                            self.give_up(&link, &why).await;
                            Some(why)
                        }
                    }
                }
            };
            if let Some(why) = why.filter(|_| Instant::now() >= deadline) {
                return Err(StoreError::Unreachable(format!("no member of etcd answers: {why}")));
            }
            if tries >= self.endpoints.len() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A request that a member refuses when it has no leader, and so can't know what is true.
pub(super) fn led<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
    request
}

/// What etcd's words mean. Source: its `api/v3rpc/rpctypes/error.go`.
fn fault(status: &Status) -> Fault {
    let words = words(status);
    let message = status.message();
    let nothing_happened = ["etcdserver: no leader", "etcdserver: too many requests"];
    if nothing_happened.iter().any(|known| message.starts_with(known)) {
        return Fault::Elsewhere(words);
    }
    if message.contains("database space exceeded") {
        let full = "etcd: its database has reached its quota; compact and defragment it, raise the quota, and disarm the alarm";
        return Fault::Final(StoreError::Full(Arc::new(io::Error::new(io::ErrorKind::QuotaExceeded, full))));
    }
    match status.code() {
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented
        | Code::ResourceExhausted => Fault::Final(StoreError::Unavailable(format!("etcd: {words}"))),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Fault::Unknown(words),
    }
}

/// A status in one line: its own words, or those of the failure under it.
pub(super) fn words(status: &Status) -> String {
    let mut source = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(error) = source {
        innermost = Some(error.to_string());
        source = error.source();
    }
    match innermost {
        Some(innermost) => innermost,
        None if status.message().is_empty() => format!("{:?}", status.code()),
        None => status.message().to_owned(),
    }
}

fn random_place(places: usize) -> usize {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish();
    usize::try_from(random % u64::try_from(places.max(1)).unwrap_or(1)).unwrap_or(0)
}

struct Attempts<'a>(&'a [(&'a EtcdEndpoint, ConnectError)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (endpoint, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{endpoint}: {error}")?;
        }
        Ok(())
    }
}
