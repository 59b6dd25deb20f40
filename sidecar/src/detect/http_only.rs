//! Where only HTTP is spoken: its version, by the client's first bytes.

use super::{FIRST_READ, Verdict, judge_http};
use crate::connect::Prefixed;
use crate::listen::activity::Activity;
use crate::pool::Wire;
use crate::worker::Closing;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// More of a client's first bytes, or why there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    /// There are some.
    Read,
    /// The client has closed, or it should be closed and has said nothing.
    Gone,
    /// It took too long; whether it had begun.
    Late {
        /// It had.
        begun: bool,
    },
}

/// Reads more of a client's first bytes.
pub(crate) async fn read_more<IO: AsyncRead + Unpin>(
    activity: &Activity,
    closing: Closing<'_>,
    stream: &mut IO,
    first: &mut BytesMut,
) -> More {
    let begun = !first.is_empty();
    let read = tokio::select! {
        // What has come is taken, whatever else is the case.
        biased;
        read = stream.read_buf(first) => read,
        _ = activity.overdue() => return More::Late { begun },
        () = closing.idle(activity), if !begun => return More::Gone,
    };
    activity.received();
    if matches!(read, Ok(amount) if amount > 0) { More::Read } else { More::Gone }
}

/// Waits until the version of HTTP is known.
///
/// # Errors
/// Why it never will be.
pub(crate) async fn http_only<IO: AsyncRead + Unpin>(
    activity: &Activity,
    closing: Closing<'_>,
    mut stream: IO,
) -> Result<(Wire, Prefixed<IO>), More> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    loop {
        let wire = match judge_http(&first) {
            Verdict::Http1 if !first.is_empty() => Wire::Http1,
            Verdict::Http2 => Wire::Http2,
            Verdict::Http1 | Verdict::Opaque | Verdict::More => {
                match read_more(activity, closing, &mut stream, &mut first).await {
                    More::Read => continue,
                    none @ (More::Gone | More::Late { .. }) => return Err(none),
                }
            }
        };
        return Ok((wire, Prefixed::new(first.freeze(), stream)));
    }
}
