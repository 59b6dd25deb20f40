//! What passes through a sidecar never gathers in it: bodies of any length take little memory, a reader that stops stops
//! the writer, and of a hundred thousand requests nothing is left.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tests::wait::{eventually, holds};
use tests::world::World;

const MIB: u64 = 1024 * 1024;

/// Enough to tell what flows from what is kept.
const LARGE: u64 = 1024 * MIB;

/// What a large body may add to a sidecar.
const GROWN_MAX: f64 = 4.0 * 1024.0 * 1024.0;

/// What of a stream may be under way: the windows of both sidecars (1 MiB and 256 KiB), and what three pairs of sockets on
/// loopback take, up to 10 MiB each.
const UNDER_WAY_MAX: u64 = 40 * MIB;

/// An application that takes and gives bodies of any length: `GET /N` is answered with N bytes, `POST` with how many came.
#[derive(Debug, Clone, Default)]
struct Application {
    written: Arc<AtomicU64>,
}

impl Application {
    fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let application = Self::default();
        let serving = application.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream).ok());
            }
        });
        (application, address)
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line)?;
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let field = field.trim_end().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let taken = std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
        let asked = line.split(' ').nth(1).and_then(|path| path.strip_prefix('/')?.parse().ok());
        let Some(asked): Option<u64> = asked else {
            let words = taken.to_string();
            return write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{words}", words.len());
        };
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {asked}\r\n\r\n")?;
        let block = vec![b'x'; 64 * 1024];
        let mut left = asked;
        while left > 0 {
            let part = &block[..usize::try_from(left).unwrap_or(block.len()).min(block.len())];
            writer.write_all(part)?;
            left -= part.len() as u64;
            self.written.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

struct Site {
    world: World,
    outbound: String,
    application: Application,
}

impl Site {
    fn new() -> Self {
        let (application, address) = Application::start();
        let (world, outbound) = World::in_front_of(address, "/1");
        Self { world, outbound, application }
    }

    /// What both sidecars hold.
    fn resident_bytes(&mut self) -> [f64; 2] {
        resident_bytes(&mut self.world)
    }

    fn request(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.outbound).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
            .write_all(format!("{head} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n").as_bytes())
            .unwrap();
        stream
    }

    /// Downloads `length` bytes, and has a look at the sidecars at every tenth of it.
    fn download(&mut self, length: u64) -> [f64; 2] {
        let mut stream = self.request(&format!("GET /{length}"));
        stream.write_all(b"\r\n").unwrap();
        let mut most = [0.0; 2];
        let mut got = 0;
        for _ in 0..10 {
            got += std::io::copy(&mut (&stream).take(length / 10), &mut std::io::sink()).unwrap();
            most = largest(most, self.resident_bytes());
        }
        got += std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        // The head is counted too.
        assert!((length..length + 1024).contains(&got), "{got} of {length} bytes came");
        most
    }

    /// Uploads `length` bytes, likewise.
    fn upload(&mut self, length: u64) -> [f64; 2] {
        let mut stream = self.request("POST /upload");
        write!(stream, "Content-Length: {length}\r\n\r\n").unwrap();
        let mut most = [0.0; 2];
        for _ in 0..10 {
            std::io::copy(&mut std::io::repeat(b'x').take(length / 10), &mut stream).unwrap();
            most = largest(most, self.resident_bytes());
        }
        std::io::copy(&mut std::io::repeat(b'x').take(length % 10), &mut stream).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(&length.to_string()), "{answer}");
        most
    }
}

fn resident_bytes(world: &mut World) -> [f64; 2] {
    ["shopper", "web-a"].map(|member| {
        let bytes = world.metrics(member).sum("process_resident_memory_bytes", &[]);
        assert!(bytes > 0.0, "the sidecar does not say what it holds");
        bytes
    })
}

fn largest(one: [f64; 2], other: [f64; 2]) -> [f64; 2] {
    [one[0].max(other[0]), one[1].max(other[1])]
}

#[test]
fn a_body_of_a_gibibyte_passes_both_ways_in_4_mib() {
    let mut site = Site::new();
    // Buffers, once there, stay.
    site.download(16 * MIB);
    site.upload(16 * MIB);
    let before = site.resident_bytes();
    let most = largest(site.download(LARGE), site.upload(LARGE));
    for (most, before) in most.into_iter().zip(before) {
        assert!(most - before < GROWN_MAX, "{before} bytes before, {most} with the body");
    }
}

#[test]
fn a_reader_that_stops_stops_the_writer() {
    let mut site = Site::new();
    site.download(16 * MIB);
    let before = site.resident_bytes();
    let written = site.application.written.load(Ordering::Relaxed);
    let mut stream = site.request(&format!("GET /{LARGE}"));
    stream.write_all(b"\r\n").unwrap();
    let application = site.application.clone();
    let under_way = || application.written.load(Ordering::Relaxed) - written;
    eventually("something is under way", || holds(under_way() > MIB, under_way()));
    // Nobody reads. What has been written stands still from one look to the next, a thousand small requests apart.
    let mut last = 0;
    eventually("the writer is stopped", || {
        for _ in 0..100 {
            tests::http1::get(&site.outbound, "web", "/1").unwrap();
        }
        let now = under_way();
        let stands = now < last + MIB / 4;
        last = now;
        holds(stands, now)
    });
    assert!(under_way() < UNDER_WAY_MAX, "{} bytes were written for a reader that takes none", under_way());
    let grown = largest(site.resident_bytes(), before);
    for (grown, before) in grown.into_iter().zip(before) {
        assert!(grown - before < GROWN_MAX, "{before} bytes before, {grown} with what nobody reads");
    }
}

/// Connections, and how often a request is sent on each of them.
const CONNECTIONS: usize = 1000;
const ROUNDS: usize = 100;

/// Rounds after which a sidecar has what it needs for so many connections: buffers, pools, tables.
const FIRST_ROUNDS: usize = 20;

/// What a request may leave behind, on average, in bytes. Whatever a sidecar keeps of one is larger by far; what is resident
/// goes up and down by some MiB with what the allocator gives back.
const LEFT_PER_REQUEST_MAX: f64 = 100.0;

/// Lets this process have that many connections and some.
fn allow_descriptors() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
}

#[test]
fn a_hundred_thousand_requests_on_a_thousand_connections_leave_nothing_behind() {
    allow_descriptors();
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let mut clients: Vec<_> =
        (0..CONNECTIONS).map(|_| tests::http1::Connection::open(&outbound).unwrap()).collect();
    let ask_all = |clients: &mut Vec<tests::http1::Connection>| {
        for client in clients.iter_mut() {
            client.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
        }
        for client in clients {
            let answer = client.answer().unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, 100));
        }
    };
    for _ in 0..FIRST_ROUNDS {
        ask_all(&mut clients);
    }
    let before = resident_bytes(&mut world);
    for _ in FIRST_ROUNDS..ROUNDS {
        ask_all(&mut clients);
    }
    let after = resident_bytes(&mut world);
    let requests = ((ROUNDS - FIRST_ROUNDS) * CONNECTIONS) as f64;
    for (who, (before, after)) in ["outbound", "inbound"].into_iter().zip(before.into_iter().zip(after)) {
        let left = (after - before) / requests;
        println!(
            "{who}: {before} bytes after the first requests, {after} after {requests} more: {left:.1} each"
        );
        assert!(
            left < LEFT_PER_REQUEST_MAX,
            "{who}: {left} bytes of each request stay: {before}, then {after}"
        );
    }
}
