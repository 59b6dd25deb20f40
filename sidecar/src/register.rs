//! What this sidecar says of the workload beside it. The announcement goes first on every discovery stream and that
//! stream is the lease: while it lives, so does the workload. Enters: settings, the bound inbound port, the state the
//! process wants to be in. Leaves: announcements, and the word that one is in force. On drain, [`Registrar::leave`]
//! comes before anything is closed.

use crate::bootstrap::Settings;
use mesh_names::{Port, Subdomain};
use mesh_protocol::announcement::{AnnouncedState, Announcement};
use mesh_protocol::health::REASON_BYTES_MAX;
use mesh_protocol::workload::WorkloadPort;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// From telling that we leave to the control plane's word that every Service has dropped us. A control plane needs
/// milliseconds; one that needs longer must not hold up a shutdown.
const LEAVE_DEADLINE: Duration = Duration::from_secs(2);
/// From that word to the end of accepting. The control plane has compiled and queued the change by then, but each caller
/// still has to receive and apply it: one network flight and some milliseconds of a busy control thread. Until then
/// callers pick us in good faith, and are served. 250 ms is ten times what callers within one region need.
const LINGER: Duration = Duration::from_millis(250);

/// Makes the announcements of one process. Owned by the task that follows the control plane.
#[derive(Debug)]
pub(crate) struct Registration {
    announcement: Announcement,
    given: Option<IpAddr>,
}

/// The application's side: what state is wanted, and what is in force. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Registrar {
    wanted: watch::Sender<Claim>,
    standing: watch::Receiver<Standing>,
}

/// What is known of the application, and so what is announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whether it has accepted connections.
    accepts: bool,
    /// Why it is not well; none: it is, or nobody asks.
    unwell: Option<Arc<str>>,
    leaves: bool,
}

impl Claim {
    /// The state to announce.
    pub(crate) fn state(&self) -> AnnouncedState {
        match self {
            Self { leaves: true, .. } => AnnouncedState::Leaving,
            Self { accepts: true, unwell: None, .. } => AnnouncedState::Ready,
            Self { .. } => AnnouncedState::NotReady,
        }
    }

    /// Why it is not ready; empty where it is, or has yet to accept connections.
    pub(crate) fn reason(&self) -> &str {
        let is_told = self.accepts && !self.leaves;
        self.unwell.as_deref().filter(|_| is_told).unwrap_or_default()
    }
}

/// The follower's ends of the same.
#[derive(Debug)]
pub(crate) struct RegistrarEnds {
    /// What state is wanted.
    pub(crate) wanted: watch::Receiver<Claim>,
    /// What the control plane has made of it.
    pub(crate) standing: watch::Sender<Standing>,
}

/// What the control plane has made of the latest announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is no stream to announce on.
    Away,
    /// It was told, and has not said that it is in force.
    Told,
    /// It is in force for the whole mesh.
    InForce(AnnouncedState),
}

/// How a leave went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The whole mesh knows.
    InForce,
    /// The control plane is away: callers find out by themselves.
    Alone,
    /// The control plane did not say so in time.
    Unanswered,
}

/// Both sides. The workload is announced once the listeners are bound, and as not ready until its application is there.
pub(crate) fn registrar() -> (Registrar, RegistrarEnds) {
    let (wanted, wanted_seen) = watch::channel(Claim::default());
    let (standing, standing_seen) = watch::channel(Standing::Away);
    let ends = RegistrarEnds { wanted: wanted_seen, standing };
    (Registrar { wanted, standing: standing_seen }, ends)
}

impl Registration {
    /// For the workload of this name, whose sidecar takes mutual TLS at `inbound_port`.
    pub(crate) fn new(name: Subdomain, settings: &Settings, inbound_port: Port) -> Self {
        let announcement = Announcement {
            sequence: 0,
            name,
            labels: settings.labels.clone(),
            address: settings.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            inbound_port,
            ports: announced_ports(settings),
            locality: settings.locality.clone(),
            weight: settings.weight,
            state: AnnouncedState::Ready,
            reason: String::new(),
            certificate_expires: None,
        };
        Self { announcement, given: settings.address }
    }

    /// A workload of this name without ports or labels.
    #[cfg(test)]
    pub(crate) fn of_name(name: Subdomain, inbound_port: Port) -> Self {
        let announcement = Announcement {
            sequence: 0,
            name,
            labels: [].into(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            inbound_port,
            ports: Vec::new(),
            locality: Default::default(),
            weight: Default::default(),
            state: AnnouncedState::Ready,
            reason: String::new(),
            certificate_expires: None,
        };
        Self { announcement, given: None }
    }

    /// The first announcement of a new stream. `local` is this machine's address on the way to the control plane: other
    /// sidecars reach it there unless an address was given. `expires` is when the certificate in force does.
    pub(crate) fn on_stream(
        &mut self,
        local: IpAddr,
        wanted: &Claim,
        expires: Option<SystemTime>,
    ) -> &Announcement {
        self.announcement.address = self.given.unwrap_or(local);
        self.take(wanted, expires);
        self.announcement.sequence = 1;
        &self.announcement
    }

    /// The announcement of a change on the running stream; none if it says so already.
    pub(crate) fn change(&mut self, wanted: &Claim, expires: Option<SystemTime>) -> Option<&Announcement> {
        self.take(wanted, expires).then_some(&self.announcement)
    }

    /// Whether something of it is new, which counts as a change.
    fn take(&mut self, wanted: &Claim, expires: Option<SystemTime>) -> bool {
        let said = &mut self.announcement;
        let is_same = said.state == wanted.state()
            && said.reason == wanted.reason()
            && said.certificate_expires == expires;
        if is_same {
            return false;
        }
        said.sequence += 1;
        said.state = wanted.state();
        wanted.reason().clone_into(&mut said.reason);
        said.certificate_expires = expires;
        true
    }

    /// What stands once the control plane says that `announced` is in force.
    pub(crate) fn standing(&self, announced: u64) -> Standing {
        if announced >= self.announcement.sequence {
            Standing::InForce(self.announcement.state)
        } else {
            Standing::Told
        }
    }
}

impl Registrar {
    /// The application accepts connections.
    pub(crate) fn ready(&self) {
        self.change(|wanted| wanted.accepts = true);
    }

    /// The application is well, or not, for this reason, which is cut where it is longer than may be announced.
    pub(crate) fn well(&self, unwell: Option<String>) {
        let unwell = unwell.map(|mut reason| {
            let end =
                (0..=REASON_BYTES_MAX).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or_default();
            reason.truncate(end);
            Arc::from(reason)
        });
        self.change(|wanted| wanted.unwell = unwell);
    }

    fn change(&self, change: impl FnOnce(&mut Claim)) {
        self.wanted.send_if_modified(|wanted| {
            let before = wanted.clone();
            change(wanted);
            *wanted != before
        });
    }

    /// Waits until the workload is registered, be it that its application takes traffic or not yet: it may be waiting for
    /// whoever waits here.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn registered(&self) {
        let mut standing = self.standing.clone();
        if standing.wait_for(is_registered).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The same, but that it ends with the first try to reach the control plane that fails, since the process began: who has
    /// a configuration need not wait for one that is away.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn registered_or_alone(&self) {
        // What was said before this call is news to the clone, since nobody has looked at it: a failure then counts.
        let mut standing = self.standing.clone();
        while !is_registered(&standing.borrow()) {
            match standing.changed().await {
                Ok(()) if *standing.borrow() == Standing::Away => return,
                Ok(()) => {}
                Err(_) => return,
            }
        }
    }

    /// Leaves the mesh: tells the control plane, waits for its word that all Services have dropped this workload, and
    /// then as long as callers need to apply that. Only then may listeners stop. Never waits longer than 2.25 s.
    pub(crate) async fn leave(&self) -> Left {
        self.change(|wanted| wanted.leaves = true);
        let gone = Standing::InForce(AnnouncedState::Leaving);
        let mut standing = self.standing.clone();
        let told = standing.wait_for(|standing| *standing == gone || *standing == Standing::Away);
        let left = match tokio::time::timeout(LEAVE_DEADLINE, told).await {
            Ok(Ok(standing)) if *standing == gone => Left::InForce,
            Ok(_) => return Left::Alone,
            Err(_elapsed) => Left::Unanswered,
        };
        tokio::time::sleep(LINGER).await;
        left
    }
}

/// The application's ports, as they are announced.
pub(crate) fn announced_ports(settings: &Settings) -> Vec<WorkloadPort> {
    let ports = settings.inbound.iter().map(|inbound| WorkloadPort {
        port: inbound.port,
        name: inbound.name.clone(),
        app_protocol: inbound.protocol,
        services: Vec::new(),
        health_checks: Vec::new(),
    });
    ports.collect()
}

fn is_registered(standing: &Standing) -> bool {
    match standing {
        Standing::InForce(AnnouncedState::Ready | AnnouncedState::NotReady) => true,
        Standing::Away | Standing::Told | Standing::InForce(AnnouncedState::Leaving) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn registration() -> Registration {
        Registration::of_name("orders-1".parse().unwrap(), Port::new(15008).unwrap())
    }

    fn ready() -> Claim {
        Claim { accepts: true, ..Claim::default() }
    }

    fn leaving() -> Claim {
        Claim { leaves: true, ..ready() }
    }

    #[test]
    fn an_application_is_ready_when_it_accepts_and_is_well_and_what_is_wrong_is_announced() {
        let (registrar, ends) = registrar();
        let wanted = || {
            let wanted = ends.wanted.borrow();
            (wanted.state(), wanted.reason().to_owned())
        };
        let unwell = || registrar.well(Some("GET / was answered with 503".to_owned()));
        unwell();
        assert_eq!(
            wanted(),
            (AnnouncedState::NotReady, String::new()),
            "it does not accept yet: that is the reason"
        );
        registrar.ready();
        assert_eq!(wanted(), (AnnouncedState::NotReady, "GET / was answered with 503".to_owned()));
        let mut registration = registration();
        registration.on_stream([127, 0, 0, 1].into(), &ends.wanted.borrow(), None);
        registrar.well(Some("é".repeat(REASON_BYTES_MAX)));
        assert_eq!(wanted().1.len(), REASON_BYTES_MAX);
        let changed = registration.change(&ends.wanted.borrow(), None).unwrap();
        assert_eq!(
            (changed.sequence, changed.reason.len()),
            (2, REASON_BYTES_MAX),
            "the reason alone is news"
        );
        registrar.well(None);
        assert_eq!(wanted(), (AnnouncedState::Ready, String::new()));
        unwell();
        registrar.change(|wanted| wanted.leaves = true);
        assert_eq!(wanted(), (AnnouncedState::Leaving, String::new()));
    }

    #[test]
    fn the_sequence_starts_anew_with_each_stream_and_grows_with_each_change() {
        let mut registration = registration();
        let local = "192.0.2.7".parse().unwrap();
        let first = registration.on_stream(local, &ready(), None);
        assert_eq!((first.sequence, first.address), (1, local));
        assert_eq!(registration.standing(1), Standing::InForce(AnnouncedState::Ready));
        assert_eq!(registration.change(&ready(), None), None);
        assert_eq!(registration.change(&leaving(), None).unwrap().sequence, 2);
        assert_eq!(registration.standing(1), Standing::Told, "that was the older one");
        assert_eq!(registration.standing(2), Standing::InForce(AnnouncedState::Leaving));
        let renewed = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        let said = registration.change(&leaving(), renewed).unwrap();
        assert_eq!((said.sequence, said.certificate_expires), (3, renewed), "a new certificate is news");
        assert_eq!(registration.on_stream(local, &leaving(), renewed).sequence, 1);
    }

    #[tokio::test]
    async fn a_workload_is_registered_before_its_application_is_ready_and_none_that_leaves_comes_back() {
        let (registrar, ends) = registrar();
        assert_eq!(ends.wanted.borrow().state(), AnnouncedState::NotReady);
        ends.standing.send_replace(Standing::InForce(AnnouncedState::NotReady));
        registrar.registered().await;
        registrar.ready();
        assert_eq!(ends.wanted.borrow().state(), AnnouncedState::Ready);
        ends.standing.send_replace(Standing::Away);
        assert_eq!(registrar.leave().await, Left::Alone);
        registrar.ready();
        assert_eq!(ends.wanted.borrow().state(), AnnouncedState::Leaving);
    }

    #[tokio::test(start_paused = true)]
    async fn who_can_do_without_the_control_plane_waits_for_it_unless_it_is_away() {
        let wait = async |registrar: &Registrar| {
            let start = Instant::now();
            let waited = tokio::time::timeout(Duration::from_secs(60), registrar.registered_or_alone()).await;
            (waited.is_ok(), start.elapsed())
        };
        let (registrar, ends) = registrar();
        assert_eq!(wait(&registrar).await, (false, Duration::from_secs(60)), "it has not been tried yet");
        let told = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ends.standing.send_replace(Standing::Told);
            tokio::time::sleep(Duration::from_secs(1)).await;
            ends.standing.send_replace(Standing::InForce(AnnouncedState::NotReady));
        };
        let (waited, ()) = tokio::join!(wait(&registrar), told);
        assert_eq!(waited, (true, Duration::from_secs(2)));

        let (registrar, ends) = super::registrar();
        // Said again by a try that failed.
        ends.standing.send_replace(Standing::Away);
        assert_eq!(wait(&registrar).await, (true, Duration::ZERO), "a failure before counts");
    }

    #[tokio::test(start_paused = true)]
    async fn leaving_waits_for_the_word_and_then_for_the_callers() {
        let (registrar, mut ends) = registrar();
        ends.standing.send_replace(Standing::InForce(AnnouncedState::Ready));
        let start = Instant::now();
        let control_plane = async {
            ends.wanted.changed().await.unwrap();
            assert_eq!(ends.wanted.borrow().state(), AnnouncedState::Leaving);
            tokio::time::sleep(Duration::from_millis(100)).await;
            ends.standing.send_replace(Standing::InForce(AnnouncedState::Leaving));
        };
        let (left, ()) = tokio::join!(registrar.leave(), control_plane);
        assert_eq!(left, Left::InForce);
        assert_eq!(start.elapsed(), Duration::from_millis(350));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_or_absent_control_plane_does_not_hold_up_a_shutdown() {
        let (registrar, ends) = registrar();
        let start = Instant::now();
        assert_eq!(registrar.leave().await, Left::Alone);
        assert_eq!(start.elapsed(), Duration::ZERO);
        ends.standing.send_replace(Standing::InForce(AnnouncedState::Ready));
        assert_eq!(registrar.leave().await, Left::Unanswered);
        assert_eq!(start.elapsed(), LEAVE_DEADLINE + LINGER);
    }
}
