//! An application that answers when the test says so: each request it is sent is handed to the test, which lets it wait as
//! long as it needs to see what others do meanwhile. What is asked of `/quick`, and below it, is answered at once.

use crate::world::{NAMESPACE, World};
use mesh_load::mesh::Beside;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(30);

/// The requests that have arrived.
#[derive(Debug)]
pub struct Holding {
    arrived: Receiver<Held>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Held {
    /// What it asks for.
    pub path: String,
    stream: TcpStream,
}

impl Holding {
    /// Starts one, and a sidecar beside it, in the Service `app`; the port is called `main`.
    pub fn serve(world: &mut World, app: &str, name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (hand_over, arrived) = channel();
        // Both end with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hand_over = hand_over.clone();
                std::thread::spawn(move || carry(stream, &hand_over));
            }
        });
        let beside = Beside {
            namespace: NAMESPACE,
            service_account: app,
            labels: &[("app", app)],
            inbound: Some(format!("main={port}/http")),
            ..Beside::default()
        };
        world.mesh.join(name, &beside, None).unwrap();
        Self { arrived }
    }

    /// The next request.
    ///
    /// # Panics
    /// None comes.
    pub fn next(&self) -> Held {
        self.arrived.recv_timeout(WITHIN).unwrap()
    }

    /// Whether no request has come that was not taken.
    pub fn is_quiet(&self) -> bool {
        self.arrived.try_recv().is_err()
    }
}

impl Held {
    /// Answers it with 200.
    pub fn answer(self) {
        answer(self.stream);
    }
}

/// One request a connection.
fn carry(stream: TcpStream, hand_over: &Sender<Held>) {
    let mut head = BufReader::new(&stream);
    let mut first = String::new();
    // A sidecar that looks whether the port accepts sends nothing.
    if head.read_line(&mut first).is_err() || first.is_empty() {
        return;
    }
    let mut line = String::new();
    while head.read_line(&mut line).is_ok_and(|read| read > 2) {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    if path.starts_with("/quick") {
        return answer(stream);
    }
    // The test may be over.
    hand_over.send(Held { path, stream }).ok();
}

fn answer(mut stream: TcpStream) {
    // Whoever asked may have gone away.
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n").ok();
}
