//! The store over a real etcd, started here on loopback. Needs `etcd` (Debian: etcd-server).

use super::*;
use crate::store::conformance;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// One etcd, killed at the end.
struct Etcd {
    folder: tempfile::TempDir,
    process: Child,
    address: String,
}

impl Etcd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, address) = run(&folder, "127.0.0.1:0");
        Self { folder, process, address }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        (self.process, self.address) = run(&self.folder, &self.address);
    }

    fn options(&self) -> EtcdOptions {
        EtcdOptions {
            endpoints: vec![format!("http://{}", self.address).parse().unwrap()],
            tls: EtcdTls::default(),
            prefix: "/outrigger".to_owned(),
        }
    }

    async fn replica(&self, name: &str) -> (Arc<EtcdStore>, Tasks) {
        let tasks = Tasks::new();
        let replica = Replica { name: name.to_owned(), discovery: format!("{name}.example.org:15012") };
        (Arc::new(EtcdStore::open(&self.options(), &replica, &tasks, &Registry::new()).await.unwrap()), tasks)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts etcd and waits until it says where it serves.
fn run(folder: &tempfile::TempDir, address: &str) -> (Child, String) {
    let url = format!("http://{address}");
    let mut process = Command::new("etcd")
        .arg("--data-dir")
        .arg(folder.path().join("etcd"))
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", "http://127.0.0.1:0", "--logger", "zap"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need etcd: apt-get install etcd-server");
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = log.find(|line| line.contains("serving client traffic")).expect("etcd should serve");
    let line: Value = serde_json::from_str(&line).unwrap();
    // Read on, so that etcd never waits for its log.
    std::thread::spawn(move || log.for_each(drop));
    (process, line["address"].as_str().unwrap().to_owned())
}

fn key(name: &str) -> Key {
    Key::new(Kind::Service, "shop", name)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let etcd = Etcd::start();
    let (store, _tasks) = etcd.replica("a").await;
    conformance::check(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_acknowledged_every_replica_reads_at_once() {
    let etcd = Etcd::start();
    let ((a, _a), (b, _b)) = (etcd.replica("a").await, etcd.replica("b").await);
    for n in 0..200 {
        let (writer, reader) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let stored = writer.put(key("web"), json!({"n": n}), Expect::Any).await.unwrap();
        assert_eq!(reader.get(&key("web")).await.unwrap(), Some(stored.clone()));
        let list = reader.list(Some(Kind::Service), None).await.unwrap();
        assert_eq!((list.items.len(), list.revision), (1, stored.revision));
        let mut watch = reader.watch(None, stored.revision).await.unwrap();
        assert!(watch.try_next().unwrap().is_none(), "nothing came after it");
    }
    let deleted = a.delete(key("web"), Expect::Any).await.unwrap();
    assert_eq!(deleted.object.read()["n"], 199);
    assert_eq!(b.get(&key("web")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_etcd_and_misses_nothing() {
    let mut etcd = Etcd::start();
    let ((a, _a), (b, _b)) = (etcd.replica("a").await, etcd.replica("b").await);
    let first = a.put(key("web"), json!({"n": 1}), Expect::Absent).await.unwrap();
    let mut watch = b.watch(None, first.revision).await.unwrap();
    etcd.kill();
    let refused = a.put(key("web"), json!({"n": 2}), Expect::Any).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unreachable(_) | StoreError::Unavailable(_)), "{refused}");
    let unread = b.get(&key("web")).await.unwrap_err();
    assert!(matches!(unread, StoreError::Unreachable(_)), "a read can't say what is true: {unread}");
    assert!(watch.try_next().unwrap().is_none(), "a watch goes on");
    etcd.start_again();
    let second = a.put(key("web"), json!({"n": 3}), Expect::At(first.revision)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().stored(), &second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_cut_off_beyond_etcds_memory_reads_all_anew() {
    let mut etcd = Etcd::start();
    let (a, a_tasks) = etcd.replica("a").await;
    let first = a.put(key("web"), json!({"n": 1}), Expect::Absent).await.unwrap();
    let watch = a.watch(None, first.revision).await.unwrap();
    // What happens while `a` can't hear of it: its tasks can't run between these two.
    let address = std::mem::replace(&mut etcd.address, "127.0.0.1:0".to_owned());
    etcd.kill();
    etcd.start_again();
    let (b, _b) = etcd.replica("b").await;
    b.delete(key("web"), Expect::Any).await.unwrap();
    let last = b.put(key("api"), json!({"n": 2}), Expect::Any).await.unwrap();
    b.compact_to(last.revision).await.unwrap();
    etcd.kill();
    etcd.address = address;
    etcd.start_again();
    assert_eq!(a.get(&key("web")).await.unwrap(), None);
    assert_eq!(a.get(&key("api")).await.unwrap(), Some(last));
    let mut watch = watch;
    let ended = watch.next().await.unwrap_err();
    assert!(matches!(ended, StoreError::Compacted { .. }), "how it came about is not known: {ended}");
    drop(a_tasks);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_leads_and_another_does_when_it_is_gone() {
    let etcd = Etcd::start();
    let ((a, a_tasks), (b, b_tasks)) = (etcd.replica("a").await, etcd.replica("b").await);
    let mut leads = a.lead("controllers").await;
    let names = |replicas: Vec<Replica>| replicas.into_iter().map(|it| it.name).collect::<Vec<_>>();
    while names(b.replicas().await.unwrap()) != ["a", "b"] {
        tokio::task::yield_now().await;
    }
    let mut other = Box::pin(b.lead("controllers"));
    // Renewed for longer than a lease lasts by itself.
    let first = a.session.lease.borrow().unwrap();
    let mut lease = a.session.lease.clone();
    tokio::select! {
        _ = &mut other => panic!("two lead at once"),
        () = leads.lost() => panic!("lost without cause"),
        renewed = lease.wait_for(|now| now.unwrap().until > first.until + Duration::from_secs(10)) => {
            assert_eq!(renewed.unwrap().unwrap().id, first.id);
        }
    }
    // It ends as it should: nobody waits for its lease.
    a_tasks.abort();
    a.close().await;
    let mut second = other.await;
    assert_eq!(names(b.replicas().await.unwrap()), ["b"]);
    leads.lost().await;
    // It just stops: its lease runs out.
    b_tasks.abort();
    let (c, _c) = etcd.replica("c").await;
    c.lead("controllers").await;
    second.lost().await;
    assert_eq!(names(c.replicas().await.unwrap()), ["c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_different_meshes_do_not_mix() {
    let etcd = Etcd::start();
    let (store, _tasks) = etcd.replica("a").await;
    assert!(!store.has_mesh().await.unwrap());
    let record = |roots: &[&str]| MeshRecord {
        trust_domain: "mesh.internal".to_owned(),
        roots: roots.iter().map(|it| (*it).to_owned()).collect(),
        token_secret: "s".to_owned(),
    };
    store.agree(&record(&["old"])).await.unwrap();
    assert!(store.has_mesh().await.unwrap());
    store.agree(&record(&["old", "new"])).await.unwrap();
    store.agree(&record(&["new"])).await.unwrap();
    let stale = store.agree(&record(&["old"])).await.unwrap_err();
    assert!(stale.to_string().contains("copy ca.key, ca.crt and join-token.key"), "{stale}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_not_there_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = EtcdOptions {
        endpoints: vec![format!("http://{address}").parse().unwrap()],
        tls: EtcdTls::default(),
        prefix: "/outrigger".to_owned(),
    };
    let error = Cluster::new(&options, Metrics::register(&Registry::new()).unwrap())
        .link()
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains(&format!("http://{address}: Connection refused")), "{error}");
}
