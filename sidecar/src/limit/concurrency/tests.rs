//! What a limit does at, below and above itself, alone and with many threads.

use super::*;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

fn told(requests: u32, pending: u32) -> Told {
    Told {
        policy: "shop/web".to_owned(),
        requests: NonZeroU32::new(requests),
        adaptive: None,
        pending: Some(pending),
        pending_time: None,
    }
}

fn limit(requests: u32, pending: u32) -> ConcurrencyLimit {
    ConcurrencyLimit::compile(&told(requests, pending)).unwrap()
}

fn client(number: u64) -> HashKey {
    HashKey::new(number)
}

async fn enter(limit: &ConcurrencyLimit, number: u64) -> Result<Turn, Refusal> {
    limit.enter(client(number), "spiffe://mesh.internal/ns/shop/sa/one").await
}

fn seen(limit: &ConcurrencyLimit) -> (u32, usize) {
    let Seen { under_way, waiting, .. } = limit.seen();
    (under_way, waiting)
}

#[tokio::test(start_paused = true)]
async fn at_below_and_above_the_limit_and_the_refusal_has_the_numbers() {
    let limit = limit(2, 1);
    let held = [enter(&limit, 1).await.unwrap(), enter(&limit, 1).await.unwrap()];
    let mut waiting = pin!(enter(&limit, 1));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let refusal = enter(&limit, 1).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::ConcurrencyLimit);
    assert_eq!(
        refusal.sentence,
        "the TrafficPolicy shop/web lets in 2 requests at once: 2 are under way and 1 of at most 1 wait, of \
         spiffe://mesh.internal/ns/shop/sa/one 2 and 1"
    );
    drop(held);
    drop(waiting.await.unwrap());
    assert_eq!(seen(&limit), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_refused_and_leaves_the_queue() {
    let limit = limit(1, 5);
    let _held = enter(&limit, 1).await.unwrap();
    let began = Instant::now();
    let refusal = enter(&limit, 2).await.unwrap_err();
    assert_eq!((refusal.reason, began.elapsed()), (Reason::ConcurrencyTimeout, PENDING_TIME));
    assert!(refusal.sentence.ends_with("it has waited 1000 ms"), "{}", refusal.sentence);
    assert_eq!(seen(&limit), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_client_comes_before_all_that_a_loud_one_has_waiting() {
    let limit = limit(2, 3);
    let loud = [enter(&limit, 1).await.unwrap(), enter(&limit, 1).await.unwrap()];
    let mut queued: Vec<_> = (0..3).map(|_| Box::pin(enter(&limit, 1))).collect();
    for waiting in &mut queued {
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    }
    let mut quiet = pin!(enter(&limit, 2));
    assert!(futures_util::poll!(quiet.as_mut()).is_pending());
    let driven_out = queued.pop().unwrap().await.unwrap_err();
    assert_eq!(driven_out.reason, Reason::ConcurrencyLimit, "the queue was full of the loud one");
    let [first, second] = loud;
    drop(first);
    let quiet = quiet.await.unwrap();
    for waiting in &mut queued {
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    }
    drop((second, quiet));
    for waiting in queued {
        drop(waiting.await.unwrap());
    }
    assert_eq!(seen(&limit), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_a_part_is_kept_for_newcomers() {
    let limit = limit(10, 0);
    let mut loud = Vec::new();
    let one = enter(&limit, 2).await.unwrap();
    while let Ok(turn) = enter(&limit, 1).await {
        loud.push(turn);
    }
    assert_eq!(loud.len(), 7, "up to four fifths of the limit together with the other's one");
    assert!(enter(&limit, 3).await.is_ok());
    drop(one);
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_away_as_its_turn_comes_passes_it_on() {
    let limit = limit(1, 5);
    let held = enter(&limit, 1).await.unwrap();
    let mut gone = Box::pin(enter(&limit, 2));
    let mut next = pin!(enter(&limit, 3));
    assert!(futures_util::poll!(gone.as_mut()).is_pending());
    assert!(futures_util::poll!(next.as_mut()).is_pending());
    drop(held);
    drop(gone);
    drop(next.await.unwrap());
    assert_eq!(seen(&limit), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_holds_for_what_is_under_way_and_waits() {
    let before = limit(1, 5);
    let held = enter(&before, 1).await.unwrap();
    let mut waiting = pin!(enter(&before, 2));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let mut after = limit(3, 5);
    after.carry_over(&before);
    assert_eq!(seen(&after), (1, 1));
    drop(held);
    let waited = waiting.await.unwrap();
    let adaptive = Some(AdaptiveConcurrency { initial: NonZeroU32::new(1), ..Default::default() });
    let told = Told { adaptive, ..told(1_000, 0) };
    let mut adapts = ConcurrencyLimit::compile(&told).unwrap();
    adapts.carry_over(&after);
    assert_eq!((adapts.seen().limit, seen(&adapts)), (4, (1, 0)), "it never falls below four");
    drop(waited);
    assert_eq!(seen(&adapts), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_adapts_falls_when_the_application_can_not_and_grows_when_it_can() {
    let told = Told { adaptive: Some(AdaptiveConcurrency::default()), requests: None, ..told(1, 0) };
    let limit = ConcurrencyLimit::compile(&told).unwrap();
    assert_eq!(limit.seen().limit, 20);
    let mut first = enter(&limit, 1).await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(enter(&limit, 1).await.unwrap());
    first.answered(503);
    drop(first);
    let mut last = enter(&limit, 1).await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    last.answered(503);
    drop(last);
    assert!(limit.seen().limit < 20, "{:?}", limit.seen());
    let fallen = limit.seen().limit;
    for _ in 0..50 {
        let mut turns = Vec::new();
        while let Ok(turn) = enter(&limit, 1).await {
            turns.push(turn);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        for mut turn in turns {
            turn.answered(200);
        }
    }
    assert!(limit.seen().limit > fallen, "{:?}", limit.seen());
}

#[test]
fn what_is_out_of_range_is_refused() {
    let adaptive = Some(AdaptiveConcurrency { tolerance: NonZeroU32::new(99), ..Default::default() });
    assert!(ConcurrencyLimit::compile(&Told { adaptive, ..told(1, 1) }).is_err());
    assert!(ConcurrencyLimit::compile(&told(1_000_001, 1)).is_err());
}

#[test]
fn workers_on_many_threads_never_have_more_under_way_than_the_limit_and_nothing_is_lost() {
    let (limit, inside) = (Arc::new(limit(3, 1_000)), Arc::new(AtomicU32::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (limit, inside) = (limit.clone(), inside.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    let one = || async {
                        for round in 0..500 {
                            if round % 7 == 0 {
                                // One that gives up at once.
                                let mut given_up = pin!(enter(&limit, number));
                                drop(futures_util::poll!(given_up.as_mut()));
                            }
                            let turn = enter(&limit, number).await.unwrap();
                            assert!(inside.fetch_add(1, SeqCst) < 3);
                            tokio::task::yield_now().await;
                            inside.fetch_sub(1, SeqCst);
                            drop(turn);
                        }
                    };
                    tokio::join!(one(), one(), one());
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(seen(&limit), (0, 0));
}
