//! Bytes that are not HTTP, through two sidecars.

use crate::mesh::{Pair, id};
use crate::origin::{listen, serve_http};
use mesh_names::AppProtocol;
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A server that accepts one connection at a time and answers each line with itself.
async fn line_echo() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.is_ok_and(|n| n > 0) {
                stream.write_all(line.as_bytes()).await.ok();
                line.clear();
            }
        }
    });
    address
}

async fn line_goes_round(address: SocketAddr, line: &str) {
    let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
    for _ in 0..3 {
        client.write_all(line.as_bytes()).await.unwrap();
        let mut back = String::new();
        client.read_line(&mut back).await.unwrap();
        assert_eq!(back, line);
    }
}

#[tokio::test]
async fn a_line_comes_back_on_declared_and_undeclared_ports() {
    for protocol in [AppProtocol::Tcp, AppProtocol::Detect] {
        let pair = Pair::start(line_echo().await, protocol);
        line_goes_round(pair.client.upstreams[0], "hello\n").await;
        line_goes_round(pair.client.upstreams[0], "GET key value\n").await;
        let peer = id("orders").to_string();
        let labels = [("direction", "outbound"), ("service", "shop/orders"), ("peer", peer.as_str())];
        assert_eq!(pair.client.metric("outrigger_tcp_received_bytes_total", &labels).await, 60.0);
        assert_eq!(pair.client.metric("outrigger_tcp_sent_bytes_total", &labels).await, 60.0);
        let labels = [("direction", "inbound"), ("peer", &id("web").to_string())];
        assert_eq!(pair.server.metric("outrigger_tcp_received_bytes_total", &labels).await, 60.0);
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"220 welcome\r\n").await.unwrap();
            let mut name = [0; 3];
            stream.read_exact(&mut name).await.ok();
            stream.write_all(&name).await.ok();
        }
    });
    for protocol in [AppProtocol::Tcp, AppProtocol::Detect] {
        let pair = Pair::start(address, protocol);
        let mut client = TcpStream::connect(pair.client.upstreams[0]).await.unwrap();
        let mut greeting = [0; 13];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 welcome\r\n");
        client.write_all(b"bob").await.unwrap();
        let mut back = String::new();
        client.read_to_string(&mut back).await.unwrap();
        assert_eq!(back, "bob");
    }
}

/// A server that speaks HTTP, until it is told to greet.
async fn turning(greets: Arc<AtomicBool>) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let greets = greets.load(Ordering::SeqCst);
            tokio::spawn(async move {
                if greets {
                    stream.write_all(b"220 welcome\r\n").await.ok();
                    // Open until the client has gone.
                    stream.read_to_end(&mut Vec::new()).await.ok();
                } else {
                    serve_http(stream, "http").await;
                }
            });
        }
    });
    address
}

/// Asks on a connection that is open, and reads the answer to its end.
async fn ask(mut client: TcpStream) {
    client.write_all(b"GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn where_http_was_spoken_silent_clients_cost_no_tunnel_and_a_greeting_still_comes_through() {
    let greets = Arc::new(AtomicBool::new(false));
    let pair = Pair::start(turning(greets.clone()).await, AppProtocol::Detect);
    let tunnels = async || pair.server.metric("outrigger_handshakes_total", &[]).await;
    let shown = async |what| {
        let labels = [("direction", "outbound"), ("shown", what)];
        pair.client.metric("outrigger_undeclared_connections_total", &labels).await
    };
    let open = async || TcpStream::connect(pair.client.upstreams[0]).await.unwrap();
    // Nothing is known: the tunnel is there before the client has said a word.
    for _ in 0..2 {
        let before = tunnels().await;
        let client = open().await;
        let tunnel = async {
            while tunnels().await <= before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), tunnel).await.expect("a tunnel is opened at once");
        ask(client).await;
    }
    assert_eq!(shown("needless").await, 2.0);
    let before = tunnels().await;
    for _ in 0..10 {
        let client = open().await;
        // A round trip to the application and back: a tunnel that was begun with the connection is there by now.
        ask(TcpStream::connect(pair.client.outbound).await.unwrap()).await;
        ask(client).await;
    }
    let needless = shown("needless").await - 2.0;
    let spared = shown("spared").await;
    assert_eq!(spared + needless, 10.0);
    assert!(spared > 0.0, "on however busy a machine, one of ten clients is quick enough");
    assert!(tunnels().await - before <= needless, "none for those that were spared");

    greets.store(true, Ordering::SeqCst);
    for heard in [1.0, 2.0] {
        let mut client = open().await;
        let mut greeting = [0; 13];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 welcome\r\n");
        assert_eq!(shown("server_first").await, heard);
    }
}

#[tokio::test]
async fn a_word_without_an_end_is_passed_on() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.ok();
            stream.write_all(&word).await.ok();
        }
    });
    let pair = Pair::start(address, AppProtocol::Detect);
    let mut client = TcpStream::connect(pair.client.upstreams[0]).await.unwrap();
    client.write_all(b"PING").await.unwrap();
    let mut back = [0; 4];
    client.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"PING");
}

#[tokio::test]
async fn a_word_that_could_begin_http_and_then_ends_is_passed_on() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
        }
    });
    let pair = Pair::start(address, AppProtocol::Detect);
    let mut client = TcpStream::connect(pair.client.upstreams[0]).await.unwrap();
    client.write_all(b"PIN").await.unwrap();
    client.shutdown().await.unwrap();
    let mut back = String::new();
    client.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "PIN");
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(format!("{} bytes", all.len()).as_bytes()).await.unwrap();
        }
    });
    let pair = Pair::start(address, AppProtocol::Tcp);
    let mut client = TcpStream::connect(pair.client.upstreams[0]).await.unwrap();
    client.write_all(&vec![7; 1_000_000]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "1000000 bytes");
}

#[tokio::test]
async fn a_server_killed_in_the_middle_gives_its_client_what_it_sent_and_a_clean_end() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).await.unwrap();
            stream.write_all(b"half of").await.unwrap();
            // What a killed process with unread input leaves behind: a reset.
            stream.read_exact(&mut byte).await.unwrap();
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    let pair = Pair::start(address, AppProtocol::Tcp);
    let mut client = TcpStream::connect(pair.client.upstreams[0]).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let mut half = [0; 7];
    client.read_exact(&mut half).await.unwrap();
    client.write_all(b"y").await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!((&half, rest.len()), (b"half of", 0));
}

#[tokio::test]
async fn connect_opens_a_tunnel_to_a_service_and_nowhere_else() {
    let pair = Pair::start(line_echo().await, AppProtocol::Tcp);
    for (target, status) in [("orders:80", "200"), ("www.example.com:443", "502"), ("127.0.0.1:80", "502")] {
        let mut client = BufReader::new(TcpStream::connect(pair.client.outbound).await.unwrap());
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            client.read_line(&mut answer).await.unwrap();
        }
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target} {answer}");
        if status == "200" {
            client.write_all(b"hello\n").await.unwrap();
            let mut back = String::new();
            client.read_line(&mut back).await.unwrap();
            assert_eq!(back, "hello\n");
        }
    }
}

#[tokio::test]
async fn the_next_connection_to_an_endpoint_resumes_the_session() {
    let pair = Pair::start(line_echo().await, AppProtocol::Tcp);
    for _ in 0..3 {
        line_goes_round(pair.client.upstreams[0], "hello\n").await;
    }
    assert_eq!(pair.server.metric("outrigger_handshakes_total", &[("result", "ok")]).await, 1.0);
    assert_eq!(pair.server.metric("outrigger_handshakes_total", &[("result", "resumed")]).await, 2.0);
}
