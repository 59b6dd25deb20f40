//! How an application is asked whether it is well, and the two messages of the protocol that gRPC servers are asked by.
//! What is not said is `None`: the defaults are the sidecar's.

use crate::error::DecodeError;
use crate::service::{duration, millis};
use crate::wire::v1 as wire;
use std::num::NonZeroU32;
use std::time::Duration;

/// Longest reason that a workload gives for not being ready, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// A health check of an application's port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// The TrafficPolicy that asks for it, `namespace/name`.
    pub policy: String,
    /// What is asked.
    pub asks: Asks,
    /// From one question to the next.
    pub interval: Option<Duration>,
    /// From a question, its connection included, to giving it up.
    pub timeout: Option<Duration>,
    /// Good answers in a row after which an application that was not well is.
    pub healthy_threshold: Option<NonZeroU32>,
    /// Bad ones after which it is not well any more.
    pub unhealthy_threshold: Option<NonZeroU32>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Asks {
    /// GET, in the protocol of the port.
    Http {
        /// The path, with its query.
        path: String,
        /// The host that is asked for; none: `localhost`.
        host: Option<String>,
        /// The statuses that mean that it is well; none: 200 to 399.
        statuses: Vec<u16>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service that is asked about; empty: the server as a whole.
        service: String,
    },
    /// Whether a connection is accepted.
    Tcp,
}

impl HealthCheck {
    pub(crate) fn to_wire(&self) -> wire::HealthCheck {
        use wire::health_check::Asks as To;
        let number = |it: Option<NonZeroU32>| it.map_or(0, NonZeroU32::get);
        let asks = match &self.asks {
            Asks::Http { path, host, statuses } => To::Http(wire::HttpHealth {
                path: path.clone(),
                host: host.clone().unwrap_or_default(),
                statuses: statuses.iter().copied().map(u32::from).collect(),
            }),
            Asks::Grpc { service } => To::Grpc(wire::GrpcHealth { service: service.clone() }),
            Asks::Tcp => To::Tcp(wire::TcpHealth {}),
        };
        wire::HealthCheck {
            policy: self.policy.clone(),
            asks: Some(asks),
            interval_ms: millis(self.interval),
            timeout_ms: millis(self.timeout),
            healthy_threshold: number(self.healthy_threshold),
            unhealthy_threshold: number(self.unhealthy_threshold),
        }
    }

    pub(crate) fn of_wire(message: wire::HealthCheck) -> Result<Self, DecodeError> {
        use wire::health_check::Asks as From;
        let wrong = |rule| DecodeError::value("ports.health_checks", rule);
        let asks = match message.asks {
            Some(From::Http(wire::HttpHealth { path, host, statuses })) => {
                let statuses = statuses.into_iter().map(u16::try_from).collect::<Result<_, _>>();
                let statuses = statuses.map_err(|_| wrong("a status has three digits"))?;
                Asks::Http { path, host: Some(host).filter(|host| !host.is_empty()), statuses }
            }
            Some(From::Grpc(wire::GrpcHealth { service })) => Asks::Grpc { service },
            Some(From::Tcp(wire::TcpHealth {})) => Asks::Tcp,
            // Taking it for well unasked would send traffic to who may not be.
            None => return Err(wrong("this version knows no such question")),
        };
        Ok(Self {
            policy: message.policy,
            asks,
            interval: duration(message.interval_ms),
            timeout: duration(message.timeout_ms),
            healthy_threshold: NonZeroU32::new(message.healthy_threshold),
            unhealthy_threshold: NonZeroU32::new(message.unhealthy_threshold),
        })
    }
}

/// The messages of `grpc.health.v1.Health/Check`
/// (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
pub mod grpc {
    /// The method's path.
    pub const PATH: &str = "/grpc.health.v1.Health/Check";
    /// `ServingStatus.SERVING`.
    pub const SERVING: i32 = 1;

    /// What is asked.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct HealthCheckRequest {
        /// Which service; empty: the server as a whole.
        #[prost(string, tag = "1")]
        pub service: String,
    }

    /// What is answered.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct HealthCheckResponse {
        /// UNKNOWN 0, SERVING 1, NOT_SERVING 2, SERVICE_UNKNOWN 3.
        #[prost(int32, tag = "1")]
        pub status: i32,
    }

    /// The bytes of a question.
    pub fn question(service: &str) -> Vec<u8> {
        prost::Message::encode_to_vec(&HealthCheckRequest { service: service.to_owned() })
    }

    /// The status in an answer; nothing if it is none.
    pub fn answer(bytes: &[u8]) -> Option<i32> {
        <HealthCheckResponse as prost::Message>::decode(bytes).ok().map(|answer| answer.status)
    }
}
