//! One run: slots are started, requests become due, answers are recorded, and the report is made.

use super::arrival::Arrivals;
use super::http2::Link;
use super::plan::{Options, Plan, Protocol};
use super::record::{Failure, Recorder};
use super::report::Report;
use super::{bulk, grpc, http1, http2, tcp};
use anyhow::Result;
use serde::Serialize;
use std::any::Any;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Beyond a request's own timeout, how long the last answers are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What all slots share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) arrivals: Arrivals,
    pub(super) recorder: Recorder,
}

/// What is told while a run goes on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Event {
    /// A moment has come; asked for with `--marks`.
    Mark {
        /// `measuring`, `measured` or `holding`.
        mark: &'static str,
        /// Answers so far, warm-up included.
        answered: u64,
    },
    /// An interval's report or, last, the whole run's.
    Report(Box<Report>),
}

/// Runs what `options` ask for on this thread, tells `tell` what happens meanwhile, and returns the whole run's report.
/// SIGTERM and SIGINT end the run early, with a report.
///
/// # Errors
/// An option cannot work, or the system gives no timer. A request that fails is no error: it is in the report.
pub fn run(options: Options, tell: impl Fn(Event)) -> Result<Report> {
    let plan = Plan::new(options)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(conduct(plan, &tell))
}

async fn conduct(plan: Plan, tell: &impl Fn(Event)) -> Result<Report> {
    let start = Instant::now();
    let measure_from = start + plan.warmup;
    let end = measure_from + plan.duration;
    let shared = Rc::new(Shared {
        arrivals: Arrivals::new(plan.options.rate, end),
        recorder: Recorder::new(measure_from, end, plan.interval.is_some())?,
        plan,
    });
    let mut slots = start_slots(&shared);
    let mark = |mark| {
        if shared.plan.options.marks {
            tell(Event::Mark { mark, answered: shared.recorder.answered() });
        }
    };
    let driving = async {
        // A bulk transfer ends by itself, not by the clock.
        match shared.plan.options.protocol {
            Protocol::Bulk => std::future::pending().await,
            Protocol::Http1 | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcStream | Protocol::Tcp => {
                shared.arrivals.drive(start).await
            }
        }
    };
    let marking = async {
        tokio::time::sleep_until(measure_from).await;
        mark("measuring");
        std::future::pending::<()>().await;
    };
    let reporting = async {
        let mut interval = tokio::time::interval(shared.plan.interval.unwrap_or(Duration::MAX / 4));
        interval.tick().await;
        loop {
            interval.tick().await;
            if let Some(report) = shared.recorder.take_interval() {
                tell(Event::Report(Box::new(report)));
            }
        }
    };
    let mut kept: Vec<Box<dyn Any>> = Vec::new();
    let transferring = async {
        match shared.plan.options.protocol {
            Protocol::Bulk => drop(slots.join_next().await),
            Protocol::Http1 | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcStream | Protocol::Tcp => {
                std::future::pending().await
            }
        }
    };
    tokio::select! {
        driven = driving => driven?,
        () = transferring => {}
        () = marking => {}
        () = reporting => {}
        ended = ended_by_signal() => ended?,
    }
    shared.arrivals.stop();
    shared.recorder.end_now();
    mark("measured");

    let deadline = Instant::now() + shared.plan.timeout + LAST_ANSWERS;
    while let Ok(Some(slot)) = tokio::time::timeout_at(deadline, slots.join_next()).await {
        kept.push(slot?);
    }
    let now = Instant::now();
    for _ in 0..slots.len() + shared.arrivals.waiting() {
        shared.recorder.failed(now, &Failure::new("unanswered", "no answer by the end of the run"));
    }
    for _ in 0..shared.arrivals.overflowed() {
        shared
            .recorder
            .failed(now, &Failure::new("overflow", "too many requests waited for a free connection"));
    }
    if !shared.plan.hold.is_zero() {
        mark("holding");
        tokio::select! {
            () = tokio::time::sleep(shared.plan.hold) => {}
            ended = ended_by_signal() => ended?,
        }
    }
    drop(kept);
    let report = shared.recorder.total();
    tell(Event::Report(Box::new(report.clone())));
    Ok(report)
}

/// Starts a task per slot; each returns the connection it leaves open.
fn start_slots(shared: &Rc<Shared>) -> JoinSet<Box<dyn Any>> {
    let mut slots: JoinSet<Box<dyn Any>> = JoinSet::new();
    let options = &shared.plan.options;
    if options.protocol == Protocol::Bulk {
        let shared = shared.clone();
        slots.spawn_local(async move { Box::new(bulk::transfer(&shared).await) as Box<dyn Any> });
        return slots;
    }
    let links: Vec<Rc<Link>> = (0..options.connections).map(|_| Rc::default()).collect();
    // Slots of all connections take turns, so that a low rate is spread over all of them.
    for _ in 0..shared.plan.slots_per_connection() {
        for link in &links {
            let (shared, link) = (shared.clone(), link.clone());
            slots.spawn_local(async move {
                match shared.plan.options.protocol {
                    Protocol::Http1 => Box::new(http1::slot(shared).await) as Box<dyn Any>,
                    Protocol::Http2 => Box::new(http2::slot(shared, link).await),
                    Protocol::Grpc => Box::new(grpc::slot(shared, link, grpc::Call::unary()).await),
                    Protocol::GrpcStream => {
                        let call = grpc::Call::stream(&shared.plan.options);
                        Box::new(grpc::slot(shared, link, call).await)
                    }
                    Protocol::Tcp | Protocol::Bulk => Box::new(tcp::slot(shared).await),
                }
            });
        }
    }
    slots
}

async fn ended_by_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}

/// Connects as the plan says.
pub(super) async fn connect(plan: &Plan) -> Result<TcpStream, Failure> {
    let connecting = async {
        let stream = TcpStream::connect(plan.connect).await?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    match tokio::time::timeout(plan.timeout, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Failure::new("connect", format!("{}: {error}", plan.connect))),
        Err(_) => Err(Failure::new("connect", format!("{}: no answer in time", plan.connect))),
    }
}
