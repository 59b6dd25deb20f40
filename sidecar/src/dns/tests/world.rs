//! What the tests are made of: a mesh in memory ([`Directory`]), an upstream server ([`Origin`]), the server under test
//! ([`World`]), and a client.

use crate::dial::Dial;
use crate::dns::names::{Answer, MeshNames, NamedPort, ServiceFacts};
use crate::dns::reply::Transport;
use crate::dns::{Place, Server, Sockets, Source};
use crate::telemetry::DnsMetrics;
use hickory_resolver::proto::op::{Edns, Message, Query};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mesh_names::{MeshDomain, Port, ServiceName};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes this long unless it is broken.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// How the control plane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    /// Known to be away: what is not known is unknown at once.
    Away,
    /// It does not answer.
    Silent,
}

/// A mesh in memory. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    services: Arc<Mutex<HashMap<ServiceName, ServiceFacts>>>,
    pub(super) link: watch::Sender<Link>,
    /// How often it was asked.
    pub(super) asked: watch::Sender<usize>,
}

impl Directory {
    /// `shop/orders` with one IPv4 address and the ports http (80) and 9000; `shop/cart` with both kinds of address.
    pub(super) fn new() -> Self {
        let port = |name: Option<&str>, number| NamedPort {
            name: name.map(|name| name.parse().unwrap()),
            port: Port::new(number).unwrap(),
        };
        let orders = ServiceFacts {
            v4: Some([100, 64, 0, 1].into()),
            v6: None,
            ports: vec![port(Some("http"), 80), port(None, 9000)],
        };
        let cart = ServiceFacts {
            v4: Some([100, 64, 0, 2].into()),
            v6: Some("fd00::2".parse().unwrap()),
            ports: Vec::new(),
        };
        let services = [("shop/orders", orders), ("shop/cart", cart)]
            .map(|(name, facts)| (name.parse().unwrap(), facts));
        Self {
            services: Arc::new(Mutex::new(services.into())),
            link: watch::Sender::new(Link::Up),
            asked: watch::Sender::new(0),
        }
    }

    pub(super) fn put(&self, name: &str, facts: ServiceFacts) {
        self.services.lock().unwrap().insert(name.parse().unwrap(), facts);
    }

    pub(super) fn facts(&self, name: &str) -> ServiceFacts {
        self.services.lock().unwrap()[&name.parse().unwrap()].clone()
    }

    /// Waits until it was asked `times` times.
    pub(super) async fn asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        tokio::time::timeout(LONG, asked.wait_for(|asked| *asked >= times)).await.unwrap().unwrap();
    }
}

impl MeshNames for Directory {
    async fn look_up(&self, service: &ServiceName) -> Answer {
        self.asked.send_modify(|asked| *asked += 1);
        let mut link = self.link.subscribe();
        let link = *link.wait_for(|link| *link != Link::Silent).await.unwrap();
        match self.services.lock().unwrap().get(service) {
            Some(facts) => Answer::Service(facts.clone()),
            None if link == Link::Away => Answer::Unknown,
            None => Answer::NoSuchService,
        }
    }

    async fn owner(&self, address: IpAddr) -> Option<ServiceName> {
        let services = self.services.lock().unwrap();
        let has = |facts: &ServiceFacts| {
            facts.v4.map(IpAddr::V4) == Some(address) || facts.v6.map(IpAddr::V6) == Some(address)
        };
        services.iter().find(|(_, facts)| has(facts)).map(|(name, _)| name.clone())
    }
}

/// An upstream server on a port of its own, UDP and TCP. It is gone when dropped.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    /// How many questions have come, by UDP and by TCP.
    pub(super) asked: watch::Receiver<(usize, usize)>,
    _tasks: JoinSet<()>,
}

impl Origin {
    /// Answers with what `answer` makes of a question, its transport, and its number from 1; nothing is silence.
    pub(super) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Message, Transport, usize) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Option<Message>> + Send + 'static,
    {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, Arc::new(udp));
            }
        };
        let address = tcp.local_addr().unwrap();
        let (count, asked) = watch::channel((0, 0));
        let count = Arc::new(count);
        let mut tasks = JoinSet::new();
        let (answer_udp, count_udp) = (answer.clone(), count.clone());
        tasks.spawn(async move {
            let mut answering = JoinSet::new();
            let mut buffer = [0; 4096];
            loop {
                let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
                count_udp.send_modify(|asked| asked.0 += 1);
                let number = count_udp.borrow().0;
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let (udp, answer) = (udp.clone(), answer_udp(question, Transport::Udp, number));
                answering.spawn(async move {
                    if let Some(message) = answer.await {
                        udp.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
                    }
                });
            }
        });
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let question = read_frame(&mut stream).await.unwrap();
                count.send_modify(|asked| asked.1 += 1);
                let number = count.borrow().1;
                if let Some(message) = answer(question, Transport::Tcp, number).await {
                    stream.write_all(&framed(&message.to_vec().unwrap())).await.unwrap();
                }
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// Answers every question with these records under the question's name.
    pub(super) async fn of(ttl: u32, data: Vec<RData>) -> Self {
        Self::start(move |question, _, _| std::future::ready(Some(answering(&question, ttl, &data)))).await
    }

    pub(super) fn questions(&self) -> (usize, usize) {
        *self.asked.borrow()
    }
}

/// An answer to `question` with these records under its name.
pub(super) fn answering(question: &Message, ttl: u32, data: &[RData]) -> Message {
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.recursion_available = true;
    message.add_query(question.queries[0].clone());
    let name = question.queries[0].name();
    message.answers = data.iter().map(|data| Record::from_rdata(name.clone(), ttl, data.clone())).collect();
    if question.edns.is_some() {
        message.set_edns(Edns::new());
    }
    message
}

/// The server under test. It ends when dropped.
pub(super) struct World {
    pub(super) address: SocketAddr,
    pub(super) directory: Directory,
    pub(super) metrics: DnsMetrics,
    stop: CancellationToken,
    server: JoinSet<()>,
}

impl World {
    pub(super) async fn start(upstreams: &[&Origin]) -> Self {
        let sockets = Sockets::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, directory) = (sockets.address(), Directory::new());
        let metrics = DnsMetrics::register(&prometheus::Registry::new()).unwrap();
        let place = Place::new("shop".parse().unwrap(), MeshDomain::default()).unwrap();
        let source = Source::Given(upstreams.iter().map(|origin| origin.address).collect());
        let server =
            Server::new(vec![sockets], directory.clone(), place, source, Dial::default(), metrics.clone());
        let server = server.unwrap();
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(server.run(stop.clone()));
        Self { address, directory, metrics, stop, server: running }
    }

    /// Ends the server and waits for it.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        self.server.join_next().await.unwrap().unwrap();
    }

    /// Asks over UDP, with EDNS.
    pub(super) async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.ask_udp(&question(name, kind, Some(1232))).await
    }

    pub(super) async fn ask_udp(&self, question: &Message) -> Message {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(self.address).await.unwrap();
        client.send(&question.to_vec().unwrap()).await.unwrap();
        let mut buffer = vec![0; 65_536];
        let length = tokio::time::timeout(LONG, client.recv(&mut buffer)).await.unwrap().unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.id, question.metadata.id);
        answer
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) async fn ask_tcp(&self, question: &Message) -> Message {
        ask_on(&mut self.connect().await, question).await
    }
}

/// Asks on a connection and waits for one answer.
pub(super) async fn ask_on(stream: &mut TcpStream, question: &Message) -> Message {
    stream.write_all(&framed(&question.to_vec().unwrap())).await.unwrap();
    tokio::time::timeout(LONG, read_frame(stream)).await.unwrap().unwrap()
}

pub(super) fn question(name: &str, kind: RecordType, payload: Option<u16>) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message
}

pub(super) fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// The next message on a connection; nothing at its end.
pub(super) async fn read_frame(stream: &mut TcpStream) -> Option<Message> {
    let length = stream.read_u16().await.ok()?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(Message::from_vec(&bytes).unwrap())
}

/// Lets time pass without waiting for it. What is under way on sockets stays under way.
pub(super) async fn later(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// Lets everything else run until `is_so`.
pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(LONG, waiting).await.is_ok(), "never: {what}");
}

/// Code and records in short: `NoError aa; 5 100.64.0.1`.
pub(super) fn short(message: &Message) -> String {
    let bits = message.metadata;
    let aa = if bits.authoritative { " aa" } else { "" };
    let tc = if bits.truncation { " tc" } else { "" };
    let answers = message.answers.iter().map(|record| format!("; {} {}", record.ttl, record.data));
    format!("{:?}{aa}{tc}{}", bits.response_code, answers.collect::<String>())
}
