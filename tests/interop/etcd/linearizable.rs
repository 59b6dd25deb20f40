//! The API under faults: clients read and replace objects through whichever control plane answers, while control planes
//! and members of etcd are killed and paused. What they saw must be explained by one order of the writes.

use super::THREE;
use super::history::{Entry, Operation, Value, check};
use anyhow::{Context, Result, bail};
use http::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tests::api::Api;
use tests::wait::{eventually, holds};
use tests::world::World;

const CLIENTS: usize = 6;
/// Objects; each is a register.
const REGISTERS: usize = 3;
/// Answered operations between two faults, and while one lasts.
const BETWEEN: u64 = 150;
/// After this a client gives an operation up, and never knows.
const PATIENCE: Duration = Duration::from_secs(3);

struct Shared {
    kubeconfigs: Vec<PathBuf>,
    start: SystemTime,
    is_over: AtomicBool,
    answered: AtomicU64,
    values: AtomicU64,
}

fn path(register: usize) -> String {
    format!("/api/v1/namespaces/demo/configmaps/r{register}")
}

fn object(register: usize, value: Value, version: Option<&str>) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("r{register}"), "namespace": "demo", "resourceVersion": version},
        "data": {"value": value.to_string()},
    })
}

#[test]
fn reads_and_writes_under_faults_have_one_order() {
    let (mut world, mut etcd) = World::shared(THREE, THREE);
    for register in 0..REGISTERS {
        world.apply(&object(register, 0, None).to_string());
    }
    let shared = Arc::new(Shared {
        kubeconfigs: (0..THREE).map(|n| world.mesh.kubeconfig_of(n)).collect(),
        start: SystemTime::now(),
        is_over: AtomicBool::new(false),
        answered: AtomicU64::new(0),
        values: AtomicU64::new(1),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(work(number, &shared))
            })
        })
        .collect();
    let go_on = || {
        let until = shared.answered.load(Ordering::Relaxed) + BETWEEN;
        eventually("clients are answered", || {
            let answered = shared.answered.load(Ordering::Relaxed);
            holds(answered >= until, answered)
        });
    };
    for n in 0..THREE {
        go_on();
        world.mesh.control_plane(n).unwrap().kill();
        go_on();
        world.mesh.restart_one_of_several(n).unwrap();
        etcd.member(n).pause().unwrap();
        go_on();
        etcd.member(n).resume().unwrap();
        world.mesh.control_plane(n).unwrap().pause().unwrap();
        go_on();
        world.mesh.control_plane(n).unwrap().resume().unwrap();
        etcd.member(n).kill();
        go_on();
        etcd.start_again(n);
    }
    go_on();
    shared.is_over.store(true, Ordering::Relaxed);
    let mut histories: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
    for client in clients {
        for (register, entry) in client.join().unwrap() {
            histories.entry(register).or_default().push(entry);
        }
    }
    let all = || histories.values().flatten();
    let count = |is: fn(&Operation) -> bool| all().filter(|entry| is(&entry.operation)).count();
    let (reads, swaps) =
        (count(|it| matches!(it, Operation::Read(_))), count(|it| matches!(it, Operation::Swapped(..))));
    let unknown = count(|it| matches!(it, Operation::Unknown(..)));
    eprintln!("{reads} reads, {swaps} writes, {unknown} of unknown outcome, {} in all", all().count());
    assert!(reads > 500 && swaps > 100, "too little happened: {reads} reads, {swaps} writes");
    for (register, history) in &histories {
        check(0, history).unwrap_or_else(|error| panic!("register {register}: {error}"));
    }
}

/// One client: reads a register, sometimes replaces what it read, goes to the next. It uses another control plane whenever
/// one fails it.
async fn work(number: usize, shared: &Shared) -> Vec<(usize, Entry)> {
    let mut history = Vec::new();
    let mut place = number;
    let mut api: Option<Api> = None;
    let mut round = number;
    while !shared.is_over.load(Ordering::Relaxed) {
        round += 1;
        let register = round % REGISTERS;
        let mut connected = match api.take() {
            Some(connected) => connected,
            None => match tokio::time::timeout(PATIENCE, connect(shared, place)).await {
                Ok(Ok(connected)) => connected,
                Ok(Err(_)) | Err(_) => {
                    place += 1;
                    tokio::task::yield_now().await;
                    continue;
                }
            },
        };
        match step(shared, &mut connected, register, round, &mut history).await {
            Ok(()) => api = Some(connected),
            Err(_) => place += 1,
        }
    }
    history
}

async fn connect(shared: &Shared, place: usize) -> Result<Api> {
    let kubeconfig = shared.kubeconfigs.get(place % shared.kubeconfigs.len()).context("a kubeconfig")?;
    Api::connect(kubeconfig).await
}

async fn step(
    shared: &Shared,
    api: &mut Api,
    register: usize,
    round: usize,
    history: &mut Vec<(usize, Entry)>,
) -> Result<()> {
    let now = || shared.start.elapsed().unwrap();
    let (path, nothing) = (path(register), json!({}));
    let called = now();
    let read = api.exchange(Method::GET, &path, "application/json", &nothing);
    let (status, found) = tokio::time::timeout(PATIENCE, read).await??;
    if status != StatusCode::OK {
        bail!("{status}: {found}");
    }
    let value: Value = found["data"]["value"].as_str().context("a value")?.parse()?;
    history.push((register, Entry { operation: Operation::Read(value), called, answered: now() }));
    shared.answered.fetch_add(1, Ordering::Relaxed);
    if !round.is_multiple_of(3) {
        return Ok(());
    }
    let new = shared.values.fetch_add(1, Ordering::Relaxed);
    let version = found["metadata"]["resourceVersion"].as_str();
    let body = object(register, new, version);
    let called = now();
    let write = api.exchange(Method::PUT, &path, "application/json", &body);
    let (operation, outcome) = match tokio::time::timeout(PATIENCE, write).await {
        Ok(Ok((StatusCode::OK, _))) => (Operation::Swapped(value, new), Ok(())),
        Ok(Ok((StatusCode::CONFLICT, _))) => (Operation::Refused(value), Ok(())),
        Ok(Ok((status, answer))) => {
            (Operation::Unknown(value, new), Err(anyhow::anyhow!("{status}: {answer}")))
        }
        Ok(Err(error)) => (Operation::Unknown(value, new), Err(error)),
        Err(elapsed) => (Operation::Unknown(value, new), Err(elapsed.into())),
    };
    if outcome.is_ok() {
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    history.push((register, Entry { operation, called, answered: now() }));
    outcome
}
