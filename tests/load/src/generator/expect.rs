//! What an answer must be. A status, headers and a body enter; nothing or a failure leaves.

use super::plan::Plan;
use super::record::{Answered, Failure};
use bytes::Bytes;
use http::HeaderMap;

/// Longest part of a failed answer's body that is quoted.
const QUOTE_BYTES: usize = 200;

/// What an HTTP answer must be.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    status: u16,
    length: Option<usize>,
    body: Option<Bytes>,
}

/// The head of an answer, in the form both HTTP versions can give.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) instance: Option<String>,
    pub(super) greeter: Option<String>,
    pub(super) reason: Option<String>,
}

impl Head {
    pub(super) fn from_response(status: u16, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            status,
            instance: text("x-instance"),
            greeter: text("x-greeter"),
            reason: text("outrigger-reason"),
        }
    }
}

impl Expected {
    pub(super) fn of(plan: &Plan) -> Self {
        let body = plan.options.post_bytes.map(post_body);
        Self { status: plan.options.expect_status, length: plan.options.expect_bytes, body }
    }

    /// The body to POST, if any; the same is expected back.
    pub(super) fn posted(&self) -> Option<Bytes> {
        self.body.clone()
    }

    pub(super) fn check<'a>(&self, head: &'a Head, body: &[u8]) -> Result<Answered<'a>, Failure> {
        if head.status != self.status {
            let reason = head.reason.as_deref().map(|reason| format!("[{reason}] ")).unwrap_or_default();
            return Err(Failure::new(format!("status-{}", head.status), format!("{reason}{}", quote(body))));
        }
        if let Some(length) = self.length.filter(|length| *length != body.len()) {
            return Err(Failure::new("body", format!("{} bytes instead of {length}", body.len())));
        }
        match (&self.body, head.instance.as_deref()) {
            (Some(sent), _) if sent != body => {
                return Err(Failure::new("body", format!("not the bytes that were sent: {}", quote(body))));
            }
            // A page of `origin http` is known from its first byte to its last.
            (None, Some(name)) if self.length.is_some() && !is_page(name, body) => {
                return Err(Failure::new("body", format!("not the page of {name}: {}", quote(body))));
            }
            _ => {}
        }
        Ok(Answered {
            instance: head.instance.as_deref(),
            greeter: head.greeter.as_deref(),
            bytes: body.len() as u64,
        })
    }
}

fn is_page(name: &str, body: &[u8]) -> bool {
    let shown = name.len().min(body.len());
    body.get(..shown) == name.as_bytes().get(..shown) && body.iter().skip(shown).all(|byte| *byte == b'.')
}

/// `count` bytes to POST.
fn post_body(count: usize) -> Bytes {
    let mut body = Vec::with_capacity(count);
    while body.len() < count {
        body.extend_from_slice(super::pattern::chunk(body.len() as u64, count - body.len()));
    }
    body.into()
}

/// The beginning of a body, for a failure's words.
pub(super) fn quote(body: &[u8]) -> String {
    let shown = body.get(..body.len().min(QUOTE_BYTES)).unwrap_or_default();
    String::from_utf8_lossy(shown).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16) -> Head {
        Head { status, instance: Some("a".to_owned()), ..Head::default() }
    }

    fn cause(expected: &Expected, head: &Head, body: &[u8]) -> Option<String> {
        expected.check(head, body).err().map(|failure| failure.cause)
    }

    #[test]
    fn takes_only_the_expected_status_length_and_content() {
        let expected = Expected { status: 200, length: Some(4), body: None };
        assert_eq!(cause(&expected, &head(200), b"a..."), None);
        assert_eq!(cause(&expected, &head(503), b"a..."), Some("status-503".to_owned()));
        assert_eq!(cause(&expected, &head(200), b"a.."), Some("body".to_owned()));
        assert_eq!(cause(&expected, &head(200), b"b..."), Some("body".to_owned()));
        assert_eq!(cause(&expected, &head(200), b"a..x"), Some("body".to_owned()));
    }

    #[test]
    fn takes_only_the_posted_bytes_back() {
        let expected = Expected { status: 200, length: None, body: Some(post_body(100_000)) };
        let sent = expected.posted().unwrap_or_default();
        assert_eq!(sent.len(), 100_000);
        assert_eq!(cause(&expected, &head(200), &sent), None);
        assert_eq!(cause(&expected, &head(200), &sent[1..]), Some("body".to_owned()));
    }

    #[test]
    fn a_failure_carries_the_reason_and_the_sentence() {
        let expected = Expected { status: 200, length: None, body: None };
        let head = Head { status: 502, reason: Some("unknown_host".to_owned()), ..Head::default() };
        let failure = expected.check(&head, b"no service `a`\n").err().map(|failure| failure.words);
        assert_eq!(failure.as_deref(), Some("[unknown_host] no service `a`"));
    }
}
