//! Why the control plane cannot start or go on: one line for a person each.

use super::ListenError;
use crate::api::ApiError;
use crate::bootstrap::DataDirectoryError;
use crate::ca::AuthorityError;
use crate::ca::admin::KubeconfigError;
use crate::ca::serving::ServingError;
use crate::ca::token::SecretError;
use crate::store::{Disagreement, OpenError};
use mesh_process::Stop;
use std::io;

/// Why the control plane cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// An address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A listener cannot say where it listens.
    #[error("cannot ask a listener for its address")]
    Socket(#[source] io::Error),
    /// The certificate authority cannot be opened.
    #[error("cannot open the certificate authority")]
    Authority(#[from] AuthorityError),
    /// The secret that join tokens are signed with cannot be opened.
    #[error("cannot open the join tokens' secret")]
    Tokens(#[from] SecretError),
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Store(#[from] OpenError),
    /// Another mesh's replicas share the store.
    #[error("cannot join the control planes that share this store")]
    Disagreement(#[from] Disagreement),
    /// The name of this control plane among others can't be read or made.
    #[error("cannot name this control plane")]
    ReplicaName(#[source] io::Error),
    /// A signal came before it was ready.
    #[error("told to stop by {0} before the store could be opened")]
    Stopped(Stop),
    /// The listeners' certificate cannot be made.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// The administrator's kubeconfig cannot be written.
    #[error("cannot write the kubeconfig")]
    Kubeconfig(#[from] KubeconfigError),
    /// The API cannot start.
    #[error("cannot start the API")]
    Api(#[from] ApiError),
    /// The threads that serve sidecars cannot be started.
    #[error("cannot start the threads that serve sidecars")]
    Threads(#[source] io::Error),
    /// Two parts register the same metric.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// Signals cannot be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    /// A task the control plane cannot do without has panicked.
    #[error("the task `{0}` broke; the log says where. Nothing acknowledged is lost: start again")]
    Broken(&'static str),
}
