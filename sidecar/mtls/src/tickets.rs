//! The session tickets of one peer (RFC 8446 §4.6.1). One store a peer, so that a session of one identity can never be
//! offered to another, and a ticket goes back to the endpoint that sealed it. Oldest evicted first.

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A full handshake brings two tickets, a resumed one uses one and brings one; a few connections at once leave some
/// more. Each is about 2 KiB.
const TICKETS_MAX: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    tickets: VecDeque<(ServerName<'static>, Tls13ClientSessionValue)>,
    group: Option<NamedGroup>,
}

impl Tickets {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _server_name: ServerName<'static>, group: NamedGroup) {
        self.held().group = Some(group);
    }

    fn kx_hint(&self, _server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.held().group
    }

    fn set_tls12_session(&self, _server_name: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut held = self.held();
        if held.tickets.len() == TICKETS_MAX {
            held.tickets.pop_front();
        }
        held.tickets.push_back((server_name, value));
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut held = self.held();
        let newest = held.tickets.iter().rposition(|(name, _)| name == server_name)?;
        held.tickets.remove(newest).map(|(_, ticket)| ticket)
    }
}
