//! What HTTP asks of an intermediary, apart from where a request goes. `http1` serves what the crate mesh-http1 reads and
//! writes, `http2` drives HTTP/2 on the engine of mesh-http2; here requests are checked and cleaned (`normalise`, `hop_by_hop`) by what
//! one look at their `fields` finds, bodies are carried and watched (`body`, `replay`), and refusals become answers
//! (`reply`). Nothing here picks, connects or retries.

pub(crate) mod authority;
pub(crate) mod beside;
pub(crate) mod body;
pub(crate) mod cookie;
pub(crate) mod fields;
pub(crate) mod grpc;
pub(crate) mod hop_by_hop;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod interim;
pub(crate) mod normalise;
pub(crate) mod replay;
pub(crate) mod reply;
pub(crate) mod retry_after;
pub(crate) mod settings;
pub(crate) mod timeout;
pub(crate) mod upgrade;
