//! What holds whatever comes, in whatever pieces.

use super::*;
use crate::error::ErrorCode;
use bytes::Bytes;
use proptest::prelude::*;

/// Frames that are right, nearly right, and noise.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![4 => (0_u32..6).prop_map(|n| 2 * n + 1), 1 => 0_u32..4];
    let payload = prop_oneof![
        3 => Just(GET.to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => Just(vec![0; 4]),
        1 => Just(vec![0, 0, 1, 0]),
        1 => Just(vec![0; 8]),
        1 => Just(vec![0; 5_000]),
    ];
    prop_oneof![
        8 => (0_u8..11, any::<u8>(), stream.clone(), payload).prop_map(|(kind, flags, stream, payload)| {
            raw(kind, flags & 0x2d, stream, &payload)
        }),
        4 => stream.prop_map(|stream| headers(stream, stream % 4 == 1, GET)),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
    ]
}

/// What holders do.
#[derive(Debug, Clone, Copy)]
enum Act {
    Accept,
    Respond,
    Send(usize),
    End,
    Read,
    Reset,
    LetGo,
    Write(usize),
    ShutDown,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Accept),
        3 => Just(Act::Respond),
        2 => (0_usize..40_000).prop_map(Act::Send),
        2 => Just(Act::End),
        2 => Just(Act::Read),
        1 => Just(Act::Reset),
        2 => Just(Act::LetGo),
        3 => (1_usize..30_000).prop_map(Act::Write),
        1 => Just(Act::ShutDown),
    ]
}

/// Carries at most so many bytes.
fn carry(from: &mut Engine, to: &mut Engine, input: &mut BytesMut, most: usize) -> Result<(), TestCaseError> {
    from.transmit();
    let piece = most.min(from.output().waiting().len());
    input.extend_from_slice(&from.output().waiting()[..piece]);
    from.output().wrote(piece);
    to.receive(input);
    prop_assert_eq!(broken(to), None);
    prop_assert!(input.len() < 17 * 1024);
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_and_no_holder_bring_an_engine_down_or_leave_anything_behind(
        steps in proptest::collection::vec((frame(), proptest::collection::vec(act(), 0..4)), 1..60),
        is_server in any::<bool>(),
    ) {
        let mut engine = if is_server { server() } else { client() };
        let mut held: Vec<Key> = Vec::new();
        if !is_server {
            for n in 0..4 {
                held.push(engine.open(get(), n % 2 == 0).unwrap());
            }
        }
        for (frame, acts) in steps {
            give(&mut engine, &frame);
            for act in acts {
                let key = held.first().copied();
                match (act, key) {
                    (Act::Accept, _) => held.extend(engine.accept().map(|(key, _)| key)),
                    (Act::Respond, Some(key)) if is_server => drop(engine.respond(key, &ok(), false)),
                    (Act::Send(bytes), Some(key)) => drop(engine.send_data(key, Bytes::from(vec![0; bytes]), false)),
                    (Act::End, Some(key)) => drop(engine.send_data(key, Bytes::new(), true)),
                    (Act::Read, Some(key)) => drop(read(&mut engine, key)),
                    (Act::Reset, Some(key)) => engine.send_reset(key, ErrorCode::CANCEL),
                    (Act::LetGo, Some(key)) => {
                        held.remove(0);
                        engine.stop_reading(key);
                        engine.let_go(key);
                    }
                    (Act::Write(bytes), _) => {
                        engine.transmit();
                        let bytes = bytes.min(engine.output().waiting().len());
                        engine.output().wrote(bytes);
                    }
                    (Act::ShutDown, _) => engine.shut_down(),
                    (_, _) => {}
                }
                let turn = usize::from(!held.is_empty());
                held.rotate_left(turn);
            }
        }
        held.extend(std::iter::from_fn(|| engine.accept().map(|(key, _)| key)));
        engine.fail(Error::Closed);
        for key in held {
            engine.stop_reading(key);
            engine.let_go(key);
        }
        prop_assert_eq!(engine.streams.kept(), 0);
        prop_assert_eq!(engine.flow.ready.len() + engine.flow.starved.len() + engine.waiting.len(), 0);
        prop_assert_eq!(engine.streams.open(), 0);
        prop_assert_eq!(engine.flow.queued, 0);
    }

    #[test]
    fn bodies_arrive_whole_in_whatever_pieces_and_within_the_windows(
        bodies in proptest::collection::vec(0_usize..200_000, 1..6),
        pieces in proptest::collection::vec(1_usize..50_000, 1..50),
        chunk in 1_usize..40_000,
    ) {
        let (mut client, mut server) = pair(CONFIG);
        let mut sending: Vec<(Key, usize)> =
            bodies.iter().map(|bytes| (client.open(get(), false).unwrap(), *bytes)).collect();
        let mut received = vec![0; bodies.len()];
        let mut ended = 0;
        let mut accepted: Vec<Key> = Vec::new();
        let mut pieces = pieces.into_iter().cycle();
        let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
        let mut rounds = 0;
        while ended < bodies.len() {
            rounds += 1;
            prop_assert!(rounds < 100_000, "nothing moves");
            sending.retain_mut(|(key, left)| {
                let Poll::Ready(room) = now(|cx| client.poll_room(*key, cx)) else { return true };
                let bytes = room.unwrap().min(chunk).min(*left);
                *left -= bytes;
                client.send_data(*key, Bytes::from(vec![0; bytes]), *left == 0).unwrap();
                *left > 0
            });
            carry(&mut client, &mut server, &mut up, pieces.next().unwrap_or(1))?;
            carry(&mut server, &mut client, &mut down, pieces.next().unwrap_or(1))?;
            accepted.extend(std::iter::from_fn(|| server.accept().map(|(key, _)| key)));
            for (place, key) in accepted.iter().enumerate() {
                let (data, end) = read(&mut server, *key);
                received[place] += data.len();
                if let Some(end) = end {
                    prop_assert!(end.is_ok());
                    if received[place] != usize::MAX && bodies[place] == received[place] {
                        ended += 1;
                        received[place] = usize::MAX / 2;
                    }
                }
            }
        }
    }
}
