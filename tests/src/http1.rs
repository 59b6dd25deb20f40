//! HTTP/1.1 by hand: a request is written as given, the answer is read to its end. Knows content-length, chunked bodies
//! and close-delimited ones; follows nothing, repairs nothing.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(20);

/// An answer, as it came.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Field lines in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without its chunk framing.
    pub body: String,
    /// Field lines behind the last chunk, names in lower case.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The value of the first field with this name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The reason a sidecar gave for this answer; empty if it is not a sidecar's own.
    pub fn reason(&self) -> &str {
        self.header("outrigger-reason")
    }
}

/// A kept-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(addr: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a GET and reads the answer.
    ///
    /// # Errors
    /// The connection ended before the answer did.
    pub fn get(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        self.write(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        self.answer()
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// The connection ended before the answer did, or what came is not HTTP.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if answer.status == 101 || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        let mut body = Vec::new();
        if answer.header("transfer-encoding").contains("chunked") {
            answer.trailers = self.chunks(&mut body)?;
        } else if let Ok(length) = answer.header("content-length").parse::<usize>() {
            body.resize(length, 0);
            self.stream.read_exact(&mut body)?;
        } else {
            self.stream.read_to_end(&mut body)?;
        }
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    /// Reads a line, without its end.
    ///
    /// # Errors
    /// The connection is gone. An orderly end brings an empty line.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Reads until the other side ends the connection.
    ///
    /// # Errors
    /// The connection was reset.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Reads the head of an answer and nothing of its body: for interim answers, and those to HEAD.
    ///
    /// # Errors
    /// As [`Connection::answer`].
    pub fn head(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not a status line: {status_line:?}")))?;
        Ok(Answer { status, headers: self.fields()?, ..Answer::default() })
    }

    /// Field lines up to the empty one.
    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            match line.split_once(':') {
                Some((name, value)) => fields.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None if line.is_empty() => return Ok(fields),
                None => return Err(io::Error::other(format!("not a field line: {line:?}"))),
            }
        }
    }

    /// Reads chunks into `body`; returns the trailers.
    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<Vec<(String, String)>> {
        loop {
            let size = self.line()?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..])?;
            if size == 0 {
                return self.fields();
            }
            self.line()?;
        }
    }
}

/// GETs once, on a connection of its own.
///
/// # Errors
/// Nobody listens there, or the connection ended before the answer did.
pub fn get(addr: &str, host: &str, path: &str) -> io::Result<Answer> {
    Connection::open(addr)?.get(host, path)
}
