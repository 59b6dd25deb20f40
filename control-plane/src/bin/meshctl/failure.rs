//! How a verb fails: what goes to standard error before exit code 1.

use crate::client::ApiError;
use crate::kubeconfig::KubeconfigError;
use std::io;

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Everything that is wrong, a line each.
    #[error("{}", .0.join("\n"))]
    Problems(Vec<String>),
    /// What was found has been printed already; only the exit code is left to say it.
    #[error("")]
    Found,
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Problems(vec![problem])
    }
}
