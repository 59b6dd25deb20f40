//! Brings the store to what is desired: reads, compares, writes by compare-and-swap, tries again when someone else was
//! faster, and later when the store can't write.

use super::policy_status;
use super::route_status::with_status;
use super::service_status::{ACCEPTED, ENDPOINTS_READY, RESOLVED_REFS, TARGET_PORTS};
use super::service_status::{with_condition, with_virtual_ips};
use super::stamp;
use super::virtual_ips::Assignment;
use super::work::{Desired, Subject, Work};
use crate::store::{CONTROLLERS, Expect, Key, Revision, Store, StoreError};
use crate::translate::{DerivedSlice, RouteName, RouteStatus, Verdict};
use futures_util::StreamExt;
use jiff::Timestamp;
use manifests::Kind;
use manifests::kind::slice::{MANAGED_BY, MANAGED_BY_LABEL};
use mesh_names::ServiceName;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How many objects are written at once: enough to share the store's fsyncs, few enough to leave it to others.
const CONCURRENT: usize = 32;
/// How often one write is tried at once when others write the same object.
const ATTEMPTS: usize = 5;
/// From a failed write to the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Writes what `work` asks for whenever this process leads, until the task is dropped. What waits while another leads is
/// mostly written by it; then there is nothing to do.
pub async fn run(store: Arc<dyn Store>, work: Arc<Work>) {
    loop {
        let mut leads = store.lead(CONTROLLERS).await;
        loop {
            // Not cut off within a batch: what was taken out would be lost.
            let entries = tokio::select! {
                entries = work.take() => entries,
                () = leads.lost() => break,
            };
            if let Err(StoreError::Closed) = write_all(&store, &work, entries).await {
                return;
            }
        }
    }
}

async fn write_all(
    store: &Arc<dyn Store>,
    work: &Work,
    entries: BTreeMap<Subject, Desired>,
) -> Result<(), StoreError> {
    let writes = entries.into_iter().map(|(subject, desired)| {
        let store = &**store;
        async move {
            match write(store, &subject, &desired).await {
                Ok(()) => None,
                Err(error) => {
                    work.put_back(subject, desired);
                    Some(error)
                }
            }
        }
    });
    let mut writes = futures_util::stream::iter(writes).buffer_unordered(CONCURRENT);
    let (mut failures, mut last) = (0_usize, None);
    while let Some(outcome) = writes.next().await {
        if let Some(error) = outcome {
            failures += 1;
            last = Some(error);
        }
    }
    match last {
        None => Ok(()),
        Some(error @ StoreError::Closed) => Err(error),
        Some(error) => {
            tracing::warn!(failures, %error, "derived objects could not be written; trying again");
            tokio::time::sleep(RETRY_AFTER).await;
            Ok(())
        }
    }
}

async fn write(store: &dyn Store, subject: &Subject, desired: &Desired) -> Result<(), StoreError> {
    match (subject, desired) {
        (Subject::Slices(service), Desired::Slices { wanted, unwanted }) => {
            for slice in wanted {
                write_slice(store, service, slice).await?;
            }
            for name in unwanted {
                delete_slice(store, service, name).await?;
            }
            Ok(())
        }
        (Subject::Status(route), Desired::Status(status)) => write_status(store, route, status).await,
        (Subject::TargetPorts(service), Desired::TargetPorts(verdict)) => {
            write_condition(store, service, TARGET_PORTS, verdict).await
        }
        (Subject::EndpointsReady(service), Desired::EndpointsReady(verdict)) => {
            write_condition(store, service, ENDPOINTS_READY, verdict).await
        }
        (Subject::VirtualIps(service), Desired::VirtualIps(assignment)) => {
            write_virtual_ips(store, service, assignment).await
        }
        (Subject::External(name), Desired::External(verdict)) => {
            let key = Key::new(Kind::ExternalService, name.namespace.as_str(), name.name.as_str());
            let change = |before: Option<&Value>| {
                before.and_then(|it| with_condition(it, RESOLVED_REFS, verdict, Timestamp::now()))
            };
            update(store, &key, change).await.map(|_| ())
        }
        (Subject::Policy(name), Desired::Policy(status)) => {
            let key = Key::new(Kind::TrafficPolicy, name.namespace.as_str(), name.name.as_str());
            let change = |before: Option<&Value>| {
                before.and_then(|it| policy_status::with_status(it, status, Timestamp::now()))
            };
            update(store, &key, change).await.map(|_| ())
        }
        (Subject::PeerAuthentication(name), Desired::PeerAuthentication(verdict)) => {
            let key = Key::new(Kind::PeerAuthentication, name.namespace.as_str(), name.name.as_str());
            let change = |before: Option<&Value>| {
                before.and_then(|it| with_condition(it, ACCEPTED, verdict, Timestamp::now()))
            };
            update(store, &key, change).await.map(|_| ())
        }
        // The index makes no other pairs.
        (
            Subject::Slices(_)
            | Subject::Status(_)
            | Subject::TargetPorts(_)
            | Subject::EndpointsReady(_)
            | Subject::VirtualIps(_)
            | Subject::External(_)
            | Subject::Policy(_)
            | Subject::PeerAuthentication(_),
            _,
        ) => Ok(()),
    }
}

async fn write_slice(
    store: &dyn Store,
    service: &ServiceName,
    slice: &DerivedSlice,
) -> Result<(), StoreError> {
    let key = Key::new(Kind::EndpointSlice, service.namespace.as_str(), slice.name.as_str());
    update(store, &key, |before| {
        let mut object = slice.object.clone();
        match before {
            None => stamp::born(&mut object, Timestamp::now()),
            // Someone else's slice under that name is theirs.
            Some(before) if label(before, MANAGED_BY_LABEL) != Some(MANAGED_BY) => return None,
            Some(before) => stamp::succeed(&mut object, before),
        }
        (before != Some(&object)).then_some(object)
    })
    .await
    .map(|_| ())
}

fn label<'a>(object: &'a Value, label: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(label)?.as_str()
}

async fn delete_slice(store: &dyn Store, service: &ServiceName, name: &str) -> Result<(), StoreError> {
    let key = Key::new(Kind::EndpointSlice, service.namespace.as_str(), name);
    match store.delete(key, Expect::Any).await {
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn write_status(store: &dyn Store, route: &RouteName, status: &RouteStatus) -> Result<(), StoreError> {
    let key = Key::new(Kind::HttpRoute, route.namespace.as_str(), route.name.as_str());
    update(store, &key, |before| before.and_then(|object| with_status(object, status, Timestamp::now())))
        .await
        .map(|_| ())
}

async fn write_condition(
    store: &dyn Store,
    service: &ServiceName,
    kind: &str,
    verdict: &Verdict,
) -> Result<(), StoreError> {
    let key = Key::new(Kind::Service, service.namespace.as_str(), service.name.as_str());
    let change =
        |before: Option<&Value>| before.and_then(|it| with_condition(it, kind, verdict, Timestamp::now()));
    update(store, &key, change).await.map(|_| ())
}

async fn write_virtual_ips(
    store: &dyn Store,
    service: &ServiceName,
    assignment: &Assignment,
) -> Result<(), StoreError> {
    let key = Key::new(Kind::Service, service.namespace.as_str(), service.name.as_str());
    let change =
        |before: Option<&Value>| before.and_then(|it| with_virtual_ips(it, assignment, Timestamp::now()));
    update(store, &key, change).await.map(|_| ())
}

/// Puts what `change` makes of the object that is there; nothing to write when it makes nothing. Returns the revision
/// that wrote the object as it is then; zero when there is none.
///
/// # Errors
/// The store's, and its last conflict when others keep writing the same object.
pub(crate) async fn update(
    store: &dyn Store,
    key: &Key,
    change: impl Fn(Option<&Value>) -> Option<Value>,
) -> Result<Revision, StoreError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let before = store.get(key).await?;
        let there = before.as_ref().map(|stored| stored.object.read());
        let Some(object) = change(there.as_ref()) else {
            return Ok(before.map(|stored| stored.revision).unwrap_or_default());
        };
        let expect = before.map_or(Expect::Absent, |stored| Expect::At(stored.revision));
        match store.put(key.clone(), object, expect).await {
            Ok(stored) => return Ok(stored.revision),
            Err(
                StoreError::Conflict { .. } | StoreError::AlreadyExists { .. } | StoreError::NotFound { .. },
            ) if attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}
