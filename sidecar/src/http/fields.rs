//! Which of the fields that an intermediary heeds a message has: one look at the names there are, as most messages have
//! none of them and the map hashes every name it is asked for. What enters is a header map; what leaves is which of them
//! were seen, and the size of all. The values are for whoever needs them to get. Pure.

use http::HeaderMap;

/// A field that is heeded, or one of several that are treated alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Field {
    /// Host.
    Host = 1,
    /// Host, more than once.
    Hosts = 1 << 1,
    /// Any field of the connection but TE, the next two among them.
    OfTheConnection = 1 << 2,
    /// Transfer-Encoding.
    TransferEncoding = 1 << 3,
    /// Upgrade.
    Upgrade = 1 << 4,
    /// TE, which is of the connection too, but that a request keeps what gRPC needs of it.
    Te = 1 << 5,
    /// Content-Type.
    ContentType = 1 << 6,
    /// A gRPC status.
    GrpcStatus = 1 << 7,
    /// A sidecar's reason for its answer.
    Reason = 1 << 8,
    /// What only sidecars may say of a request: who its peer is, which HTTP it came in as.
    OfSidecars = 1 << 9,
    /// Cookie.
    Cookie = 1 << 10,
    /// Cookie, more than once.
    Cookies = 1 << 11,
    /// How much time the request has, in one of three ways.
    Timeout = 1 << 12,
    /// That another attempt is in vain.
    Retry = 1 << 13,
}

/// Which of them a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fields {
    seen: u16,
    size: usize,
}

impl Fields {
    /// Looks at all names of a message once.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            let mut seen = seen(name);
            // Each second one is the bit beside the first's.
            seen |= (seen & fields.seen & (Field::Host as u16 | Field::Cookie as u16)) << 1;
            fields.seen |= seen;
            fields.size += name.len() + value.len() + 32;
        }
        fields
    }

    /// Whether the message has it.
    pub(crate) fn have(self, field: Field) -> bool {
        self.seen & field as u16 != 0
    }

    /// The size of all fields as HTTP/2 counts it, in bytes: names, values and 32 for each (RFC 9113 §6.5.2).
    pub(crate) fn list_size(self) -> usize {
        self.size
    }
}

fn seen(name: &str) -> u16 {
    let of_the_connection = Field::OfTheConnection as u16;
    match name {
        "host" => Field::Host as u16,
        "te" => Field::Te as u16,
        "transfer-encoding" => Field::TransferEncoding as u16 | of_the_connection,
        "upgrade" => Field::Upgrade as u16 | of_the_connection,
        "connection" | "keep-alive" | "proxy-connection" => of_the_connection,
        "content-type" => Field::ContentType as u16,
        "grpc-status" => Field::GrpcStatus as u16,
        "outrigger-reason" => Field::Reason as u16,
        "cookie" => Field::Cookie as u16,
        "outrigger-http" | "x-forwarded-client-cert" => Field::OfSidecars as u16,
        "grpc-timeout" | "outrigger-timeout" | "outrigger-deadline" => Field::Timeout as u16,
        "outrigger-retry" => Field::Retry as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{grpc, hop_by_hop, reply, timeout};
    use crate::inbound;
    use crate::retry::exhausted;
    use http::header::{self, HeaderName, HeaderValue};

    #[test]
    fn every_field_that_is_heeded_is_seen_under_the_name_it_is_treated_by() {
        let connection = hop_by_hop::OF_THE_CONNECTION.iter().filter(|name| **name != header::TE);
        let connection = connection.map(|name| (name, Field::OfTheConnection));
        let others = [
            (&header::HOST, Field::Host),
            (&header::COOKIE, Field::Cookie),
            (&header::TE, Field::Te),
            (&header::TRANSFER_ENCODING, Field::TransferEncoding),
            (&header::UPGRADE, Field::Upgrade),
            (&header::CONTENT_TYPE, Field::ContentType),
            (&grpc::GRPC_STATUS, Field::GrpcStatus),
            (&reply::REASON, Field::Reason),
            (&inbound::ORIGINAL_HTTP, Field::OfSidecars),
            (&inbound::CLIENT_CERTIFICATE, Field::OfSidecars),
            (&timeout::GRPC_TIMEOUT, Field::Timeout),
            (&timeout::TIMEOUT, Field::Timeout),
            (&timeout::DEADLINE, Field::Timeout),
            (&exhausted::RETRY, Field::Retry),
        ];
        for (name, field) in connection.chain(others) {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static("accept"), HeaderValue::from_static("*/*"));
            assert!(!Fields::of(&headers).have(field), "{name}");
            headers.insert(name, HeaderValue::from_static("x"));
            assert!(Fields::of(&headers).have(field), "{name}");
        }
    }

    #[test]
    fn a_second_cookie_is_seen_and_a_host_is_none() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=1"));
        headers.insert(header::HOST, HeaderValue::from_static("a"));
        assert!(!Fields::of(&headers).have(Field::Cookies));
        headers.append(header::COOKIE, HeaderValue::from_static("b=2"));
        let fields = Fields::of(&headers);
        assert!(fields.have(Field::Cookies) && !fields.have(Field::Hosts));
    }

    #[test]
    fn a_second_host_is_seen_and_counted() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("a"));
        assert!(!Fields::of(&headers).have(Field::Hosts));
        assert_eq!(Fields::of(&headers).list_size(), 4 + 1 + 32);
        headers.append(header::HOST, HeaderValue::from_static("a"));
        assert!(Fields::of(&headers).have(Field::Hosts));
        assert_eq!(Fields::of(&headers).list_size(), 2 * (4 + 1 + 32));
    }
}
