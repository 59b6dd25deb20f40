//! What was acknowledged is there, whenever the control plane is killed.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tests::api::Api;
use tests::world::World;

/// How often it is killed.
const ROUNDS: u64 = 200;
/// Clients that write at the same time, each its own objects.
const WRITERS: usize = 4;
/// Objects of each.
const OBJECTS: u64 = 5;

/// What a client knows of an object: the value acknowledged last, and one whose write was not answered.
#[derive(Debug, Clone, Default)]
struct Known {
    acknowledged: Option<u64>,
    unanswered: Option<u64>,
}

type Log = BTreeMap<String, Known>;

fn object(name: &str, value: u64) -> Value {
    // Some KiB, so that a write is of several pages.
    let filler = "x".repeat(usize::try_from(value % 7 * 1500).unwrap());
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "demo"},
        "data": {"value": value.to_string(), "filler": filler},
    })
}

/// Writes until the control plane is gone. `answered` is called for each answer.
async fn write(kubeconfig: &Path, writer: usize, first: u64, log: &mut Log, answered: impl Fn()) {
    let Ok(mut api) = Api::connect(kubeconfig).await else { return };
    for value in first.. {
        let name = format!("w{writer}-{}", value % OBJECTS);
        let known = log.entry(name.clone()).or_default();
        let path = format!("/api/v1/namespaces/demo/configmaps/{name}?fieldManager=me&force=true");
        known.unanswered = Some(value);
        let wanted = object(&name, value);
        match api.exchange(Method::PATCH, &path, "application/apply-patch+yaml", &wanted).await {
            Ok((StatusCode::OK | StatusCode::CREATED, _)) => {
                known.acknowledged = Some(value);
                known.unanswered = None;
            }
            Ok((status, said)) => panic!("{status}: {said}"),
            Err(_gone) => return,
        }
        answered();
    }
}

#[test]
fn nothing_acknowledged_is_lost_however_often_it_is_killed_as_it_writes() {
    let mut world = World::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut logs = vec![Log::default(); WRITERS];
    let mut next = 1;
    let mut survived = 0;
    for round in 0..ROUNDS {
        let (pid, kubeconfig) = (world.mesh.control_plane_pid().unwrap(), world.mesh.kubeconfig());
        let (answers, mut arrived) = tokio::sync::mpsc::channel(1024);
        let mut writers = tokio::task::JoinSet::new();
        for (writer, mut log) in logs.drain(..).enumerate() {
            let (kubeconfig, answers) = (kubeconfig.clone(), answers.clone());
            let writing = async move {
                write(&kubeconfig, writer, next, &mut log, || _ = answers.try_send(())).await;
                (writer, log)
            };
            writers.spawn_on(writing, runtime.handle());
        }
        drop(answers);
        // Another moment in each round.
        let until = 1 + round * 7919 % 41;
        runtime.block_on(async {
            for _ in 0..until {
                arrived.recv().await.expect("it answers");
            }
            mesh_load::running::kill(pid).unwrap();
        });
        let mut ended = runtime.block_on(writers.join_all());
        ended.sort_by_key(|(writer, _)| *writer);
        logs = ended.into_iter().map(|(_, log)| log).collect();
        world.mesh.restart_control_plane().unwrap();
        survived += runtime.block_on(check(&world.mesh.kubeconfig(), &mut logs, round));
        next += 10_000;
    }
    assert!(survived > ROUNDS, "{survived} objects were checked");
}

/// Each object is as its client knows it, and whole.
async fn check(kubeconfig: &Path, logs: &mut [Log], round: u64) -> u64 {
    let mut api = Api::connect(kubeconfig).await.unwrap();
    let list = api.send(Method::GET, "/api/v1/namespaces/demo/configmaps", "", &json!({})).await.unwrap();
    let mut there: BTreeMap<String, u64> = BTreeMap::new();
    for item in list["items"].as_array().unwrap() {
        let name = item["metadata"]["name"].as_str().unwrap();
        let value = item["data"]["value"].as_str().unwrap().parse().unwrap();
        assert_eq!(item["data"], object(name, value)["data"], "round {round}: half of a write");
        there.insert(name.to_owned(), value);
    }
    let mut checked = 0;
    for (name, known) in logs.iter_mut().flatten() {
        let found = there.remove(name);
        let is_explained =
            found == known.acknowledged || (known.unanswered.is_some() && found == known.unanswered);
        assert!(is_explained, "round {round}: {name} is {found:?}, and its client knows of {known:?}");
        // From here on it is what it is.
        *known = Known { acknowledged: found, unanswered: None };
        checked += 1;
    }
    assert!(there.is_empty(), "round {round}: nobody wrote {there:?}");
    checked
}
