//! One worker's sums. A series is looked up when a route or cluster is first used and held by it; a request adds to
//! plain cells. `flush` adds what has gathered to the shared families; it runs on the worker, when a scrape is near.

use super::{DataFamilies, Direction};
use crate::refusal::Reason;
use prometheus::IntCounter;
use prometheus::local::LocalHistogram;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A label text of this worker as a number, so that series are told apart by comparing integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LabelId(u32);

impl LabelId {
    /// The empty label.
    pub(crate) const NONE: Self = Self(0);
}

/// A counter added to locally.
#[derive(Debug)]
pub(crate) struct Tally {
    child: IntCounter,
    pending: Cell<u64>,
}

impl Tally {
    fn new(child: IntCounter) -> Self {
        Self { child, pending: Cell::new(0) }
    }

    pub(crate) fn add(&self, amount: u64) {
        self.pending.set(self.pending.get() + amount);
    }

    fn flush(&self) {
        let pending = self.pending.take();
        if pending > 0 {
            self.child.inc_by(pending);
        }
    }
}

/// What tells the answers of one route apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerKey {
    pub(crate) backend: LabelId,
    pub(crate) peer: LabelId,
    pub(crate) status: u16,
    pub(crate) grpc: Option<u8>,
    pub(crate) reason: Option<Reason>,
}

/// The series of one route of one service in one direction.
#[derive(Debug)]
pub(crate) struct RouteSeries {
    direction: Direction,
    service: Arc<str>,
    route: Arc<str>,
    duration: LocalHistogram,
    /// A handful: the answers this route has given. The latest used is found first.
    answers: RefCell<Vec<(AnswerKey, Rc<Tally>)>>,
}

/// The series of one service in one direction.
#[derive(Debug)]
pub(crate) struct ServiceSeries {
    pub(crate) request_bytes: Tally,
    pub(crate) response_bytes: Tally,
}

/// The series of opaque connections between us and one peer for one service.
#[derive(Debug)]
pub(crate) struct TcpSeries {
    opened: Tally,
    pub(crate) received: Tally,
    pub(crate) sent: Tally,
}

type ByRoute = HashMap<(Direction, Arc<str>, Arc<str>), Rc<RouteSeries>>;
type ByService = HashMap<(Direction, Arc<str>), Rc<ServiceSeries>>;
type ByPeer = HashMap<(Direction, Arc<str>, LabelId), Rc<TcpSeries>>;

/// One worker's sums.
#[derive(Debug)]
pub(crate) struct Recorder {
    families: DataFamilies,
    labels: RefCell<Labels>,
    routes: RefCell<ByRoute>,
    services: RefCell<ByService>,
    tcp: RefCell<ByPeer>,
}

#[derive(Debug, Default)]
struct Labels {
    ids: HashMap<Arc<str>, LabelId>,
    texts: Vec<Arc<str>>,
}

impl Recorder {
    pub(crate) fn new(families: DataFamilies) -> Self {
        let mut labels = Labels::default();
        labels.id("");
        Self {
            families,
            labels: RefCell::new(labels),
            routes: RefCell::default(),
            services: RefCell::default(),
            tcp: RefCell::default(),
        }
    }

    /// The number of a label text. Texts are configured names and SPIFFE IDs, so that there are few.
    pub(crate) fn label(&self, text: &str) -> LabelId {
        self.labels.borrow_mut().id(text)
    }

    /// The series of a route.
    pub(crate) fn route(
        &self,
        direction: Direction,
        service: &Arc<str>,
        route: &Arc<str>,
    ) -> Rc<RouteSeries> {
        let key = (direction, service.clone(), route.clone());
        let mut routes = self.routes.borrow_mut();
        let series = routes.entry(key).or_insert_with(|| {
            let labels = [direction.as_str(), service, route];
            Rc::new(RouteSeries {
                direction,
                service: service.clone(),
                route: route.clone(),
                duration: self.families.requests.duration.with_label_values(&labels).local(),
                answers: RefCell::default(),
            })
        });
        series.clone()
    }

    /// The series of a service.
    pub(crate) fn service(&self, direction: Direction, service: &Arc<str>) -> Rc<ServiceSeries> {
        let mut services = self.services.borrow_mut();
        let series = services.entry((direction, service.clone())).or_insert_with(|| {
            let labels = [direction.as_str(), service];
            let requests = &self.families.requests;
            Rc::new(ServiceSeries {
                request_bytes: Tally::new(requests.request_bytes.with_label_values(&labels)),
                response_bytes: Tally::new(requests.response_bytes.with_label_values(&labels)),
            })
        });
        series.clone()
    }

    /// Counts an opaque connection with a peer; its bytes go to the series returned.
    pub(crate) fn tcp_opened(
        &self,
        direction: Direction,
        service: &Arc<str>,
        peer: LabelId,
    ) -> Rc<TcpSeries> {
        let mut all = self.tcp.borrow_mut();
        let series = all.entry((direction, service.clone(), peer)).or_insert_with(|| {
            let peer = self.labels.borrow().text(peer);
            let labels = [direction.as_str(), service, &peer];
            let connections = &self.families.connections;
            Rc::new(TcpSeries {
                opened: Tally::new(connections.tcp_connections.with_label_values(&labels)),
                received: Tally::new(connections.tcp_received.with_label_values(&labels)),
                sent: Tally::new(connections.tcp_sent.with_label_values(&labels)),
            })
        });
        series.opened.add(1);
        series.clone()
    }

    /// Counts an answer and how long it took.
    pub(crate) fn answered(&self, series: &RouteSeries, key: AnswerKey, took: Duration) {
        series.duration.observe(took.as_secs_f64());
        let mut answers = series.answers.borrow_mut();
        if let Some(place) = answers.iter().position(|(k, _)| *k == key) {
            if let Some((_, tally)) = answers.get(place) {
                tally.add(1);
            }
            if place > 3 {
                answers.swap(place, 0);
            }
            return;
        }
        let labels = self.labels.borrow();
        let (backend, peer) = (labels.text(key.backend), labels.text(key.peer));
        let status = key.status.to_string();
        let grpc = key.grpc.map(|code| code.to_string()).unwrap_or_default();
        let child = self.families.requests.total.with_label_values(&[
            series.direction.as_str(),
            &series.service,
            &series.route,
            &backend,
            &peer,
            &status,
            &grpc,
            key.reason.map(Reason::word).unwrap_or_default(),
        ]);
        let tally = Tally::new(child);
        tally.add(1);
        answers.push((key, Rc::new(tally)));
    }

    /// Counts a refusal; rare enough for a shared counter.
    pub(crate) fn refused(&self, direction: Direction, reason: Reason) {
        self.families.requests.refusals.with_label_values(&[direction.as_str(), reason.word()]).inc();
    }

    /// Adds everything gathered to the shared families.
    pub(crate) fn flush(&self) {
        for series in self.routes.borrow().values() {
            series.duration.flush();
            for (_, tally) in series.answers.borrow().iter() {
                tally.flush();
            }
        }
        for series in self.services.borrow().values() {
            series.request_bytes.flush();
            series.response_bytes.flush();
        }
        for series in self.tcp.borrow().values() {
            series.opened.flush();
            series.received.flush();
            series.sent.flush();
        }
    }

    /// The text of a label.
    pub(crate) fn text(&self, label: LabelId) -> Arc<str> {
        self.labels.borrow().text(label)
    }
}

impl Labels {
    fn id(&mut self, text: &str) -> LabelId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = LabelId(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.ids.insert(text, id);
        id
    }

    fn text(&self, label: LabelId) -> Arc<str> {
        let index = usize::try_from(label.0).unwrap_or(usize::MAX);
        self.texts.get(index).cloned().unwrap_or_else(|| "".into())
    }
}

impl RouteSeries {
    pub(crate) fn service(&self) -> &Arc<str> {
        &self.service
    }

    pub(crate) fn route(&self) -> &Arc<str> {
        &self.route
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_counted_twice_and_nothing_is_lost_over_flushes() {
        let registry = prometheus::Registry::new();
        let recorder = Recorder::new(DataFamilies::register(&registry).unwrap());
        let series = recorder.route(Direction::Outbound, &"shop/a".into(), &"shop/r".into());
        let key = |status| AnswerKey {
            backend: LabelId::NONE,
            peer: recorder.label("spiffe://x"),
            status,
            grpc: None,
            reason: None,
        };
        for status in [200, 500, 200] {
            recorder.answered(&series, key(status), Duration::from_millis(1));
        }
        recorder.flush();
        recorder.flush();
        recorder.answered(&series, key(200), Duration::from_millis(1));
        recorder.flush();
        let families = &recorder.families;
        let labels = ["outbound", "shop/a", "shop/r", "", "spiffe://x", "200", "", ""];
        assert_eq!(families.requests.total.with_label_values(&labels).get(), 3);
        let duration = families.requests.duration.with_label_values(&["outbound", "shop/a", "shop/r"]);
        assert_eq!(duration.get_sample_count(), 4);
    }
}
