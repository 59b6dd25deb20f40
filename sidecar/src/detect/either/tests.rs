//! Who is listened to, when, and what is learned of it: with a stopped clock, so that what does not happen is certain.

use super::*;
use crate::listen::activity::Watch;
use crate::refusal::Reason;
use prometheus::IntCounter;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::Cell;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// A server that says something so long after it was connected to; nothing: never.
#[derive(Clone, Copy)]
struct Scripted(Option<Duration>);

impl Speaks for Scripted {
    async fn spoke(&mut self) -> bool {
        match self.0 {
            Some(after) => {
                tokio::time::sleep_until(Instant::now() + after).await;
                true
            }
            None => std::future::pending().await,
        }
    }
}

fn counters() -> [IntCounter; 4] {
    Observed::ALL.map(|it| IntCounter::new(it.word(), "connections").unwrap())
}

fn learned(history: &[Observed]) -> Learned {
    let learned = Learned::new(counters());
    history.iter().for_each(|observed| learned.saw(*observed));
    learned
}

/// A destination that is held.
fn held() -> Learned {
    learned(&[Observed::Needless; 2])
}

struct Run {
    spoken: Spoken<DuplexStream, Scripted>,
    /// When the server was connected to, since the beginning.
    opened: Option<Duration>,
    took: std::time::Duration,
}

/// One connection, on which the client does this.
async fn run(
    learned: &Learned,
    server: Result<Scripted, Refusal>,
    client: impl AsyncFnOnce(DuplexStream) -> DuplexStream,
) -> Run {
    let start = Instant::now();
    let (near, far) = duplex(4096);
    let opened = Cell::new(None);
    let opening = async {
        opened.set(Some(start.elapsed()));
        server
    };
    let activity = Watch::default().connection();
    let (spoken, _client) = tokio::join!(either(&activity, near, learned, opening), client(far));
    Run { spoken, opened: opened.get(), took: start.elapsed() }
}

/// Says this after so long.
fn says(after: Duration, bytes: &'static [u8]) -> impl AsyncFnOnce(DuplexStream) -> DuplexStream {
    async move |mut stream: DuplexStream| {
        tokio::time::sleep_until(Instant::now() + after).await;
        stream.write_all(bytes).await.unwrap();
        stream
    }
}

/// Only listens.
async fn listens(stream: DuplexStream) -> DuplexStream {
    stream
}

const SILENT: Result<Scripted, Refusal> = Ok(Scripted(None));
const TICK: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn nothing_is_known_and_the_server_is_connected_to_at_once() {
    let learned = learned(&[]);
    for is_held in [false, true] {
        let run = run(&learned, SILENT, says(TICK, REQUEST)).await;
        assert!(matches!(run.spoken, Spoken::Http(Wire::Http1, _)));
        assert_eq!(run.opened, Some(Duration::ZERO), "for nothing, as it turned out");
        assert_eq!(learned.is_held(), is_held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_there_already_spares_the_server_and_is_counted_so() {
    let (near, mut far) = duplex(4096);
    far.write_all(REQUEST).await.unwrap();
    let counted = counters();
    let learned = Learned::new(counted.clone());
    let opening = async { panic!("nobody needs it") };
    let activity = Watch::default().connection();
    let spoken: Spoken<_, Scripted> = either(&activity, near, &learned, opening).await;
    assert!(matches!(spoken, Spoken::Http(Wire::Http1, _)));
    assert_eq!(counted.map(|counter| counter.get()), [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn where_http_was_spoken_the_server_is_left_alone_while_the_client_makes_up_its_mind() {
    let learned = held();
    for after in [Duration::ZERO, TICK, HELD - TICK] {
        let run = run(&learned, SILENT, says(after, REQUEST)).await;
        assert!(matches!(run.spoken, Spoken::Http(Wire::Http1, _)));
        assert_eq!((run.opened, run.took), (None, after));
        assert!(learned.is_held());
    }
    let slow = run(&learned, SILENT, says(HELD + TICK, REQUEST)).await;
    assert!(matches!(slow.spoken, Spoken::Http(Wire::Http1, _)), "what it is does not change");
    assert_eq!(slow.opened, Some(HELD));
    assert!(learned.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_greeting_where_http_was_spoken_is_late_once_and_never_lost() {
    let learned = held();
    for late in [HELD, Duration::ZERO] {
        let run = run(&learned, Ok(Scripted(Some(TICK))), listens).await;
        assert!(matches!(run.spoken, Spoken::Opaque(_, Ok(_))));
        assert_eq!((run.opened, run.took), (Some(late), late + TICK));
        assert!(!learned.is_held());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_something_else_where_http_was_spoken_is_not_delayed() {
    let learned = held();
    let run = run(&learned, SILENT, says(TICK, b"*1\r\n$4\r\nPING\r\n")).await;
    assert!(matches!(run.spoken, Spoken::Opaque(_, Ok(_))));
    assert_eq!((run.opened, run.took), (Some(TICK), TICK));
    assert!(!learned.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_had_teaches_nothing_and_its_listener_is_told_soon() {
    for (learned, late) in [(held(), HELD), (learned(&[]), Duration::ZERO)] {
        let is_held = learned.is_held();
        let run = run(&learned, Err(Reason::ConnectRefused.into()), listens).await;
        assert!(matches!(run.spoken, Spoken::Opaque(_, Err(_))));
        assert_eq!((run.opened, run.took), (Some(late), late + deadline::REFUSED));
        assert_eq!(learned.is_held(), is_held);
    }
}

proptest! {
    /// Whatever is known, whoever speaks when: the verdict is the same, and only the server's beginning differs.
    #[test]
    fn what_was_learned_changes_no_verdict(
        word in select(vec![None, Some(REQUEST), Some(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(b"hello\n")]),
        after in 0_u64..600,
        history in vec(select(Observed::ALL.to_vec()), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let client = says(Duration::from_millis(after), word.unwrap_or_default());
            // Silent for as long as the client may need, then a greeting that ends every wait.
            let server = Ok(Scripted(Some(Duration::from_secs(1))));
            let run = run(&learned(&history), server, client).await;
            let seen = match run.spoken {
                Spoken::Http(wire, _) => Some(wire),
                Spoken::Opaque(_, Ok(_)) => None,
                Spoken::Opaque(_, Err(_)) | Spoken::Nothing => panic!("the server can be had"),
            };
            let expected = match word {
                Some(REQUEST) => Some(Wire::Http1),
                Some(word) if word.starts_with(b"PRI") => Some(Wire::Http2),
                Some(_) | None => None,
            };
            assert_eq!(seen, expected);
        });
    }
}
