//! The host of an HTTP/1 request, by its first bytes. Pure. Only to find out whose a connection is: whoever serves it reads
//! the request again, strictly.

/// Fields looked at.
const FIELDS_MAX: usize = 100;

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// The head is not complete.
    More,
    /// It names this host, with its port if it has one.
    Named(&'a str),
    /// It names none, or more than one, or what can't be the name of one.
    None,
}

/// Reads the head of a request.
pub(crate) fn host(bytes: &[u8]) -> Host<'_> {
    let mut found = None;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let Some(first) = lines.next() else { return Host::More };
    let target = first.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if !target.starts_with(b"/") && !target.starts_with(b"*") {
        // Asked as a proxy: the target counts, and whoever serves the request knows how.
        return Host::None;
    }
    for line in lines.take(FIELDS_MAX) {
        if !line.ends_with(b"\n") {
            return Host::More;
        }
        let line = line.trim_ascii_end();
        if line.is_empty() {
            let value = found.map(<[u8]>::trim_ascii).filter(|value| value.iter().all(u8::is_ascii_graphic));
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            return text.map_or(Host::None, Host::Named);
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        if name.eq_ignore_ascii_case(b"host")
            && let Some(value) = value
            && found.replace(value).is_some()
        {
            return Host::None;
        }
    }
    Host::More
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_host_of_a_complete_head_is_told() {
        for (bytes, expected) in [
            ("", Host::More),
            ("GET / HTTP/1.1\r\nHost: a", Host::More),
            ("GET / HTTP/1.1\r\nHost: a\r\n", Host::More),
            ("GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", Host::Named("a:80")),
            ("GET / HTTP/1.1\nX: y\nhOST:a \n\nbody", Host::Named("a")),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Host::None),
            ("GET / HTTP/1.0\r\n\r\n", Host::None),
            ("GET / HTTP/1.1\r\nHost: \u{b}a\r\n\r\n", Host::None),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Host::None),
            ("GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n", Host::None),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Host::None),
        ] {
            assert_eq!(host(bytes.as_bytes()), expected, "{bytes:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}Host: a\r\n\r\n", "x: y\r\n".repeat(FIELDS_MAX));
        assert_eq!(host(many.as_bytes()), Host::More);
    }
}
