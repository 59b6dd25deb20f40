//! What was seen at a destination where anything may be spoken, and from it whether its server is connected to before a
//! client has said anything. Observations enter, a yes or no leaves. It only says *when*: what a connection is, its own
//! bytes decide. One worker's, beside a cluster or a port of the application, and forgotten with it.
//!
//! ```text
//!              the connection to the server was not needed, twice in a row (after a greeting: 16 times)
//!  at once ──────────────────────────────────────────────────────────────────────────────────────────────> held
//!     ^                                                                                                     │
//!     └──────────────────────────── it was needed: the client spoke first, or the server ───────────────────┘
//! ```

use prometheus::IntCounter;
use std::cell::Cell;
use std::time::Duration;

/// From the beginning of a client's silence to connecting to a server that was not needed before. It is the most that a
/// greeting is late, once, when a server that speaks first has taken the place of one that speaks HTTP. A client on
/// this machine sends its request within milliseconds of connecting; the shortest time programs wait for a greeting is
/// seconds. In between, a quarter of a second is what people do not notice (RFC 8305 §5 chose it for that).
pub(crate) const HELD: Duration = Duration::from_millis(250);

/// Connections in a row that did not need the server: one may be a scanner's.
const FIRST_HELD_AFTER: u8 = 2;

/// The same where a server has spoken first before. Some ports carry both; of those that greet, few are late so.
const HELD_AFTER_GREETING: u8 = 16;

/// What one connection has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observed {
    /// The server was not needed, and was not connected to.
    Spared,
    /// It was connected to for nothing: the client spoke HTTP, which goes by pooled connections.
    Needless,
    /// The client spoke first, and not HTTP.
    ClientFirst,
    /// The server spoke first.
    ServerFirst,
}

impl Observed {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Spared, Self::Needless, Self::ClientFirst, Self::ServerFirst];

    /// The label.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Spared => "spared",
            Self::Needless => "needless",
            Self::ClientFirst => "client_first",
            Self::ServerFirst => "server_first",
        }
    }
}

/// What a destination seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Nature {
    /// Connections in a row that did not need the server.
    needless: u8,
    /// A server has spoken first.
    greets: bool,
}

impl Nature {
    /// What it seems to be after one more connection.
    #[must_use]
    pub(crate) fn after(self, observed: Observed) -> Self {
        match observed {
            Observed::Spared | Observed::Needless => {
                Self { needless: self.needless.saturating_add(1), ..self }
            }
            Observed::ClientFirst => Self { needless: 0, ..self },
            Observed::ServerFirst => Self { needless: 0, greets: true },
        }
    }

    /// Whether a silent client is given [`HELD`] before the server is connected to.
    pub(crate) fn is_held(self) -> bool {
        self.needless >= if self.greets { HELD_AFTER_GREETING } else { FIRST_HELD_AFTER }
    }
}

/// What one worker has learned of one destination.
#[derive(Debug)]
pub(crate) struct Learned {
    nature: Cell<Nature>,
    /// Beside [`Observed::ALL`].
    counted: [IntCounter; 4],
}

impl Learned {
    /// Nothing yet; what is observed is counted here.
    pub(crate) fn new(counted: [IntCounter; 4]) -> Self {
        Self { nature: Cell::default(), counted }
    }

    /// Learns from a connection.
    pub(crate) fn saw(&self, observed: Observed) {
        self.nature.set(self.nature.get().after(observed));
        if let Some(counter) = self.counted.get(observed as usize) {
            counter.inc();
        }
    }

    /// As [`Nature::is_held`].
    pub(crate) fn is_held(&self) -> bool {
        self.nature.get().is_held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(history: impl IntoIterator<Item = Observed>) -> Nature {
        history.into_iter().fold(Nature::default(), Nature::after)
    }

    #[test]
    fn every_observation_has_its_own_place_and_word() {
        for (place, observed) in Observed::ALL.into_iter().enumerate() {
            assert_eq!(observed as usize, place);
            assert_eq!(Observed::ALL.iter().filter(|it| it.word() == observed.word()).count(), 1);
        }
    }

    #[test]
    fn servers_are_held_once_they_were_not_needed_and_until_they_are() {
        use Observed::{ClientFirst, Needless, ServerFirst, Spared};
        for (history, is_held) in [
            (&[][..], false),
            (&[Needless], false),
            (&[Needless, Needless], true),
            (&[Needless, Needless, Spared], true),
            (&[Needless, ClientFirst, Needless], false),
            (&[Needless, Needless, ClientFirst], false),
            (&[Needless, Needless, ClientFirst, Needless, Needless], true),
            (&[Needless, Needless, ServerFirst], false),
            (&[Needless, Needless, ServerFirst, Needless, Needless], false),
            (&[ClientFirst, ClientFirst], false),
            (&[ServerFirst], false),
        ] {
            assert_eq!(after(history.iter().copied()).is_held(), is_held, "{history:?}");
        }
    }

    #[test]
    fn where_a_server_has_greeted_more_is_asked_for() {
        let mut nature = after([Observed::ServerFirst]);
        for _ in 1..HELD_AFTER_GREETING {
            nature = nature.after(Observed::Needless);
            assert!(!nature.is_held(), "{nature:?}");
        }
        assert!(nature.after(Observed::Needless).is_held());
    }

    fn observed() -> impl Strategy<Value = Observed> {
        proptest::sample::select(Observed::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn whatever_was_seen_one_server_that_is_needed_is_the_next_time_connected_to_at_once(
            history in proptest::collection::vec(observed(), 0..400),
            needed in proptest::sample::select(vec![Observed::ClientFirst, Observed::ServerFirst]),
        ) {
            prop_assert!(!after(history).after(needed).is_held());
        }

        #[test]
        fn whatever_was_seen_enough_http_holds_the_server(
            history in proptest::collection::vec(observed(), 0..400),
            further in usize::from(HELD_AFTER_GREETING)..600,
        ) {
            let history = history.into_iter().chain(std::iter::repeat_n(Observed::Needless, further));
            prop_assert!(after(history).is_held());
        }

        #[test]
        fn a_server_that_is_held_stays_held_while_it_is_not_needed(
            history in proptest::collection::vec(observed(), 0..400),
            spared: bool,
        ) {
            let nature = after(history);
            let next = nature.after(if spared { Observed::Spared } else { Observed::Needless });
            prop_assert!(!nature.is_held() || next.is_held());
        }
    }
}
