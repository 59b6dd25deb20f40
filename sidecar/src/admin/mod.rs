//! What operators on this machine can see and do, over HTTP on loopback, and what Prometheus scrapes. Enters: settings,
//! the current snapshot, the identity. Leaves: JSON and text. Never here: keys, tokens, and anything that changes how
//! traffic flows except the log level and the drain.
//!
//! | address | view | what it does |
//! | --- | --- | --- |
//! | admin, metrics | `/ready`, `/live` | 200, or what is missing |
//! | metrics | `/metrics` | Prometheus text or OpenMetrics |
//! | admin | `/config` | settings in force, revision, services held |
//! | admin | `/endpoints` | each service's endpoints; `?service=namespace/name` for one |
//! | admin | `/certs` | the certificate and the trust bundle in force |
//! | admin | `/log` | GET or PUT the log level |
//! | admin | `/drain` | POST: leave the mesh, finish, end, as on SIGTERM |

mod attempts;
mod limits;
mod render;

use crate::bootstrap::Settings;
use crate::snapshot::Snapshot;
use crate::telemetry::DiscoveryMetrics;
use crate::worker::Mailboxes;
use http::StatusCode;
use mesh_mtls::Identity;
use mesh_names::WorkloadName;
use mesh_process::exposition::{Reply, Request, Views};
use mesh_process::logging::LevelHandle;
use mesh_process::{Drain, Readiness};
use prometheus::Registry;
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// What the views look at.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// How this process runs.
    pub(crate) settings: Arc<Settings>,
    /// The workload it runs beside.
    pub(crate) workload: WorkloadName,
    /// What workers have.
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The certificate in force.
    pub(crate) identity: Identity,
    /// Whether the control plane is followed.
    pub(crate) discovery: DiscoveryMetrics,
    /// Whether it is fit for work.
    pub(crate) readiness: Readiness,
    /// The log level in force.
    pub(crate) level: LevelHandle,
    /// What starts the end.
    pub(crate) shutdown: Drain,
}

/// The views on the admin address.
pub(crate) fn admin(look: &Look) -> Views {
    let view = |render: fn(&Look, &Request) -> Reply| {
        let look = look.clone();
        move |request: Request| std::future::ready(render(&look, &request))
    };
    Views::new()
        .health(&look.readiness)
        .get("/config", view(|look, _| json(&render::config(look))))
        .get("/endpoints", view(endpoints))
        .get("/certs", view(|look, _| json(&render::certificates(&look.identity))))
        .get("/log", view(|look, _| Reply::text(format!("{}\n", look.level.level()))))
        .put("/log", view(set_level))
        .post("/drain", view(drain))
}

/// The views on the metrics address. Workers add up what they counted before each scrape, once there are workers.
pub(crate) fn metrics(readiness: &Readiness, registry: Registry, workers: Arc<OnceLock<Mailboxes>>) -> Views {
    let flush = move || {
        let workers = workers.clone();
        async move {
            if let Some(mailboxes) = workers.get() {
                mailboxes.flush().await;
            }
        }
    };
    Views::new().health(readiness).metrics(registry, flush)
}

fn json(value: &Value) -> Reply {
    Reply::json(format!("{value:#}\n"))
}

fn endpoints(look: &Look, request: &Request) -> Reply {
    let snapshot = look.snapshots.borrow().clone();
    let Some(text) = request.query_value("service") else { return json(&render::endpoints(&snapshot)) };
    let Ok(name) = text.parse() else {
        let sentence = format!("`{text}` is not a service: it must have the form `namespace/name`\n");
        return Reply::text(sentence).with_status(StatusCode::BAD_REQUEST);
    };
    match snapshot.service(&name) {
        Some(state) => json(&render::service(state)),
        None => Reply::text(format!("no traffic of this workload has asked for `{name}` yet\n"))
            .with_status(StatusCode::NOT_FOUND),
    }
}

fn set_level(look: &Look, request: &Request) -> Reply {
    match look.level.set(&request.body_text()) {
        Ok(()) => {
            tracing::warn!(level = look.level.level(), "the log level was changed through the admin address");
            Reply::text(format!("{}\n", look.level.level()))
        }
        Err(error) => Reply::text(format!("{error}\n")).with_status(StatusCode::BAD_REQUEST),
    }
}

fn drain(look: &Look, _: &Request) -> Reply {
    tracing::info!("draining, as asked for through the admin address");
    look.shutdown.drain();
    Reply::text("draining\n").with_status(StatusCode::ACCEPTED)
}
