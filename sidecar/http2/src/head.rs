//! Decoded fields become the head of a request or a response, or trailers, if they obey the rules of messages
//! (RFC 9113 §8.2, §8.3); and the other way round. Pure.

use crate::hpack::{Encoder, Field, Indexing, Malformed, Sink, is_secret};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Response, StatusCode, Version};

/// Among a request's extensions: it had more fields than [`Config::head_bytes`](crate::Config::head_bytes) allows, and
/// only those that fit are there. Whoever takes the request has to refuse it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated;

/// How long a body is to be, if its head says so.
pub(crate) type BodyLength = Option<u64>;

/// The fields of one header section.
#[derive(Debug)]
pub(crate) struct Section {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    length: BodyLength,
    /// Bytes that still fit.
    room: usize,
    count: usize,
    is_truncated: bool,
    /// The first rule that was broken.
    malformed: Option<Malformed>,
}

impl Section {
    /// An empty one, for about as many fields as `expected`, and for `room` bytes at most, counted as HPACK does.
    pub(crate) fn new(expected: usize, room: usize) -> Self {
        Self {
            method: None,
            scheme: None,
            authority: None,
            path: None,
            status: None,
            headers: HeaderMap::with_capacity(expected),
            length: None,
            room,
            count: 0,
            is_truncated: false,
            malformed: None,
        }
    }

    /// How many regular fields came.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether a field of `size` bytes still fits; what comes after one that does not is cut off, too.
    fn fits(&mut self, size: usize) -> bool {
        match self.room.checked_sub(size) {
            Some(room) if !self.is_truncated => self.room = room,
            _ => self.is_truncated = true,
        }
        !self.is_truncated
    }

    fn take(&mut self, field: Field) {
        let is_late = self.count > 0;
        let repeated = match field {
            Field::Regular(name, value) => return self.regular(name, value),
            Field::Malformed(_, why) => return self.refuse(why),
            Field::Method(method) => self.method.replace(method).is_some(),
            Field::Scheme(scheme) => self.scheme.replace(scheme).is_some(),
            Field::Authority(authority) => self.authority.replace(authority).is_some(),
            Field::Path(path) => self.path.replace(path).is_some(),
            Field::Status(status) => self.status.replace(status).is_some(),
        };
        if is_late {
            self.refuse(Malformed::LatePseudo);
        } else if repeated {
            self.refuse(Malformed::RepeatedPseudo);
        }
    }

    fn regular(&mut self, name: HeaderName, value: HeaderValue) {
        self.count += 1;
        if name == header::CONTENT_LENGTH {
            match length(&value) {
                Some(length) if self.length.is_none() => self.length = Some(length),
                _ => self.refuse(Malformed::ContentLength),
            }
        }
        if self.headers.try_append(name, value).is_err() {
            self.is_truncated = true;
        }
    }

    fn refuse(&mut self, why: Malformed) {
        self.malformed.get_or_insert(why);
    }

    /// The head of a request (RFC 9113 §8.3.1).
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub(crate) fn request(mut self) -> Result<(Request<()>, BodyLength), Malformed> {
        if let Some(why) = self.malformed {
            return Err(why);
        }
        if self.status.is_some() {
            return Err(Malformed::UnknownPseudo);
        }
        let method = match self.method.take() {
            Some(method) => method,
            // It was cut off; whoever refuses the request needs one.
            None if self.is_truncated => Method::GET,
            None => return Err(Malformed::MissingPseudo),
        };
        let mut uri = http::uri::Parts::default();
        (uri.scheme, uri.authority, uri.path_and_query) =
            (self.scheme.take(), self.authority.take(), self.path.take());
        if method == Method::CONNECT {
            if uri.scheme.is_some() || uri.path_and_query.is_some() {
                return Err(Malformed::UnknownPseudo);
            }
            if uri.authority.is_none() {
                return Err(Malformed::MissingPseudo);
            }
        } else if !self.is_truncated {
            let Some(path) = &uri.path_and_query else { return Err(Malformed::MissingPseudo) };
            if path.as_str() == "*" && method != Method::OPTIONS {
                return Err(Malformed::Path);
            }
            if uri.scheme.is_none() {
                return Err(Malformed::MissingPseudo);
            }
        }
        if uri.authority.is_none() {
            // A URI has both or none.
            uri.scheme = None;
        } else if self.is_truncated {
            uri = http::uri::Parts::default();
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Malformed::Path)?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        if self.is_truncated {
            request.extensions_mut().insert(Truncated);
        }
        Ok((request, self.length))
    }

    /// The head of a response (RFC 9113 §8.3.2).
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub(crate) fn response(self) -> Result<(Response<()>, BodyLength), Malformed> {
        if let Some(why) = self.malformed.or(self.is_truncated.then_some(Malformed::TooLarge)) {
            return Err(why);
        }
        if self.has_pseudo_of_requests() {
            return Err(Malformed::UnknownPseudo);
        }
        let Some(status) = self.status else { return Err(Malformed::MissingPseudo) };
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.headers;
        Ok((response, self.length))
    }

    /// Trailers (RFC 9113 §8.1).
    ///
    /// # Errors
    /// The first rule that they break.
    pub(crate) fn trailers(self) -> Result<HeaderMap, Malformed> {
        if let Some(why) = self.malformed.or(self.is_truncated.then_some(Malformed::TooLarge)) {
            return Err(why);
        }
        if self.status.is_some() || self.has_pseudo_of_requests() {
            return Err(Malformed::PseudoInTrailers);
        }
        Ok(self.headers)
    }

    fn has_pseudo_of_requests(&self) -> bool {
        self.method.is_some() || self.scheme.is_some() || self.authority.is_some() || self.path.is_some()
    }
}

impl Sink for Section {
    fn known(&mut self, field: &Field, size: usize) {
        if !self.fits(size) {
            return;
        }
        // Most are regular ones, of which nothing else need be copied.
        if let Field::Regular(name, value) = field {
            self.regular(name.clone(), value.clone());
        } else {
            self.take(field.clone());
        }
    }

    fn fresh(&mut self, field: Field, size: usize) {
        if self.fits(size) {
            self.take(field);
        }
    }
}

/// A number of bytes, in digits only (RFC 9110 §8.6).
fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    let value = std::str::from_utf8(digits).ok()?.parse().ok()?;
    digits.iter().all(u8::is_ascii_digit).then_some(value)
}

/// Whether a request can be sent as it is: it has what RFC 9113 §8.3.1 asks for.
///
/// # Errors
/// What it lacks.
pub(crate) fn check_request(request: &Request<()>) -> Result<(), &'static str> {
    let uri = request.uri();
    if request.method() == Method::CONNECT {
        return uri.authority().map(|_| ()).ok_or("a CONNECT without an authority");
    }
    uri.scheme().map(|_| ()).ok_or("a request without a scheme")
}

/// Appends a request's fields.
pub(crate) fn encode_request(request: &Request<()>, encoder: &mut Encoder, block: &mut Vec<u8>) {
    encoder.begin(block);
    let (method, uri) = (request.method(), request.uri());
    match *method {
        Method::GET => Encoder::known(2, block),
        Method::POST => Encoder::known(3, block),
        _ => encoder.field(":method", method.as_str().as_bytes(), Indexing::Allowed, block),
    }
    if method != Method::CONNECT {
        match uri.scheme_str() {
            Some("http") => Encoder::known(6, block),
            Some("https") => Encoder::known(7, block),
            scheme => {
                encoder.field(":scheme", scheme.unwrap_or_default().as_bytes(), Indexing::Allowed, block)
            }
        }
        // A request that is about no resource at all has no path in its URI (RFC 9110 §7.1).
        let without = if method == Method::OPTIONS { "*" } else { "/" };
        match uri.path_and_query().map_or(without, PathAndQuery::as_str) {
            "/" => Encoder::known(4, block),
            path => encoder.field(":path", path.as_bytes(), Indexing::Allowed, block),
        }
    }
    if let Some(authority) = uri.authority() {
        encoder.field(":authority", authority.as_str().as_bytes(), Indexing::Allowed, block);
    }
    encode_fields(request.headers(), encoder, block);
}

/// Appends a response's fields.
pub(crate) fn encode_response(response: &Response<()>, encoder: &mut Encoder, block: &mut Vec<u8>) {
    encoder.begin(block);
    match response.status() {
        StatusCode::OK => Encoder::known(8, block),
        status => encoder.field(":status", status.as_str().as_bytes(), Indexing::Allowed, block),
    }
    encode_fields(response.headers(), encoder, block);
}

/// Appends trailers.
pub(crate) fn encode_trailers(trailers: &HeaderMap, encoder: &mut Encoder, block: &mut Vec<u8>) {
    encoder.begin(block);
    encode_fields(trailers, encoder, block);
}

fn encode_fields(headers: &HeaderMap, encoder: &mut Encoder, block: &mut Vec<u8>) {
    for (name, value) in headers {
        let is_secret = value.is_sensitive() || is_secret(name, value.len());
        let indexing = if is_secret { Indexing::Never } else { Indexing::Allowed };
        encoder.field(name.as_str(), value.as_bytes(), indexing, block);
    }
}
