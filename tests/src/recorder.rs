//! An HTTP/1.1 server that writes down each request as it came, byte for byte, and answers with the bytes it was told to.
//! It reads messages strictly by RFC 9112: what it reads in another way than the sidecar meant it, it writes down so.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What it has seen, and what it says. Clones are the same server.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    seen: Vec<Recorded>,
    answer: Vec<u8>,
    then: Then,
    /// The rest of the next answer, and what it waits for.
    held: Option<(Receiver<()>, Vec<u8>)>,
}

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It waits for the next request.
    Next,
    /// It ends.
    End,
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A request as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The request line.
    pub line: String,
    /// Field lines as they stood, in order.
    pub fields: Vec<String>,
    /// The body, without its chunk framing.
    pub body: Vec<u8>,
    /// Field lines behind the last chunk, in order.
    pub trailers: Vec<String>,
}

impl Recorded {
    /// The values of the fields with this name.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.fields.iter().filter_map(|field| field.split_once(':'));
        fields.filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Recorder {
    /// Serves on a free port of loopback until the process ends.
    ///
    /// # Panics
    /// No port is free.
    pub fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let book = Book { seen: Vec::new(), answer: OK.to_vec(), then: Then::Next, held: None };
        let recorder = Self(Arc::new(Mutex::new(book)));
        let served = recorder.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let recorder = served.clone();
                std::thread::spawn(move || recorder.serve(stream));
            }
        });
        (recorder, address)
    }

    /// Takes what has come since the last time.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.book().seen)
    }

    /// From now on every request is answered so.
    pub fn answers(&self, answer: &[u8], then: Then) {
        let mut book = self.book();
        book.answer = answer.to_vec();
        book.then = then;
    }

    /// The next request is answered in two parts: the second follows when the sender says so.
    pub fn answers_in_two(&self, first: &[u8], second: &[u8]) -> Sender<()> {
        let (go_on, held) = channel();
        let mut book = self.book();
        book.answer = first.to_vec();
        book.held = Some((held, second.to_vec()));
        go_on
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends with the connection, or at the first thing that is no request.
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some(recorded) = request(&mut reader)? {
            let (answer, then, held) = {
                let mut book = self.book();
                book.seen.push(recorded);
                (book.answer.clone(), book.then, book.held.take())
            };
            writer.write_all(&answer)?;
            if let Some((go_on, rest)) = held {
                // A test that has ended says nothing more.
                go_on.recv().map_err(io::Error::other)?;
                writer.write_all(&rest)?;
            }
            if then == Then::End {
                break;
            }
        }
        Ok(())
    }
}

/// The next request; nothing at the end of the connection.
fn request(reader: &mut impl BufRead) -> io::Result<Option<Recorded>> {
    let mut recorded = Recorded { line: line(reader)?, ..Recorded::default() };
    if recorded.line.is_empty() {
        return Ok(None);
    }
    recorded.fields = fields(reader)?;
    if recorded.values("transfer-encoding").any(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = usize::from_str_radix(&line(reader)?, 16).map_err(io::Error::other)?;
            let start = recorded.body.len();
            recorded.body.resize(start + size, 0);
            reader.read_exact(&mut recorded.body[start..])?;
            if size == 0 {
                recorded.trailers = fields(reader)?;
                return Ok(Some(recorded));
            }
            line(reader)?;
        }
    }
    let length =
        recorded.values("content-length").next().map(str::parse).transpose().map_err(io::Error::other)?;
    recorded.body.resize(length.unwrap_or(0), 0);
    reader.read_exact(&mut recorded.body)?;
    Ok(Some(recorded))
}

/// Field lines up to the empty one.
fn fields(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut fields = Vec::new();
    loop {
        match line(reader)? {
            field if field.is_empty() => return Ok(fields),
            field => fields.push(field),
        }
    }
}

/// A line without its CR LF; only both together end one.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n") {
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
    }
    bytes.truncate(bytes.len().saturating_sub(2));
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
