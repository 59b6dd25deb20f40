//! What HTTP asks of an intermediary, apart from where a request goes. hyper reads and writes the bytes; here requests
//! are checked and cleaned (`normalise`, `hop_by_hop`), bodies are carried and watched (`body`, `replay`), and refusals
//! become answers (`reply`). Nothing here picks, connects or retries.

pub(crate) mod authority;
pub(crate) mod body;
pub(crate) mod grpc;
pub(crate) mod hop_by_hop;
pub(crate) mod normalise;
pub(crate) mod replay;
pub(crate) mod reply;
pub(crate) mod settings;
pub(crate) mod upgrade;
