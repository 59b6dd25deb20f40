//! Clients that take their time take nothing from others: not a connection's turn, not a request's, not much memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::http1::get;
use tests::recorder::{Recorder, Then};
use tests::world::World;

/// Slow clients at a time: more than a pool of threads would have threads.
const SLOW: usize = 500;

/// What each may hold in the sidecar. A head that is not complete is what has come of it; an answer that is not read waits
/// in its connection's window.
const EACH_MAX: f64 = 128.0 * 1024.0;

#[derive(Debug, Clone, Copy)]
enum How {
    /// Half of a request's head.
    Head,
    /// A head, and half of the body that it tells of.
    Body,
    /// A request whose answer is never read.
    Reading,
    /// The first bytes of HTTP/2.
    Preface,
}

#[test]
fn slow_clients_hold_up_nobody_and_hold_little() {
    let (recorder, address) = Recorder::start();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n{}", "x".repeat(65_536));
    recorder.answers(answer.as_bytes(), Then::Next);
    let (mut world, outbound) = World::in_front_of(address, "/");
    let resident = |world: &mut World| world.metrics("shopper").sum("process_resident_memory_bytes", &[]);
    for how in [How::Head, How::Body, How::Reading, How::Preface] {
        let before = resident(&mut world);
        let mut slow = Vec::new();
        for n in 0..SLOW {
            let mut stream = TcpStream::connect(&outbound).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let bytes: &[u8] = match how {
                How::Head => b"GET / HTTP/1.1\r\nHost: web\r\nX-Long",
                How::Body => b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\nhalf ",
                How::Reading => b"GET / HTTP/1.1\r\nHost: web\r\n\r\n",
                How::Preface => b"PRI * HTTP/2.0\r\n\r\nSM",
            };
            stream.write_all(bytes).unwrap();
            slow.push(stream);
            if n % 50 == 0 {
                let answer = get(&outbound, "web", "/").unwrap();
                assert_eq!((answer.status, answer.body.len()), (200, 65_536), "beside {n} of {how:?}");
            }
        }
        let grown = resident(&mut world) - before;
        let most = EACH_MAX * SLOW as f64;
        assert!(grown < most, "{SLOW} of {how:?} hold {grown} bytes");
        // However late: what was begun is finished.
        let rest: &[u8] = match how {
            How::Head => b": 1\r\nConnection: close\r\n\r\n",
            How::Body => b"body\n",
            How::Reading => b"",
            How::Preface => continue,
        };
        for stream in slow.iter_mut().step_by(100) {
            stream.write_all(rest).unwrap();
            let mut start = [0; 15];
            stream.read_exact(&mut start).unwrap();
            assert_eq!(&start, b"HTTP/1.1 200 OK", "{how:?}");
        }
    }
}
