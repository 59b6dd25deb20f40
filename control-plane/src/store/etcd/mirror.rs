//! etcd's objects as an [`Image`] in this process, kept as they are there. Enters: a list at one revision, then etcd's
//! watch of what comes after it. Leaves: images. A watch that ends is taken up where it ended, on another member; when
//! etcd no longer remembers what came since, all is listed again.

use super::cluster::{ANSWER_MAX, Cluster, led, words};
use super::keys::Keys;
use super::wire::{
    EventType, KvClient, RangeRequest, RequestUnion, WatchClient, WatchCreateRequest, WatchRequest,
    WatchResponse, end_of, number, revision, revision_of,
};
use crate::store::image::Image;
use crate::store::{Document, Event, Revision, StoreError, Stored};
use bytes::Bytes;
use futures_util::StreamExt;
use prometheus::IntGauge;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Objects in one answer of a list.
const PAGE: i64 = 128;
/// From a lost watch to the next; and from a failed try to the next.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Why a watch ended.
enum End {
    /// The connection, or the member.
    Lost(String),
    /// etcd no longer remembers the revision it should have gone on from.
    Forgotten,
    Failed(StoreError),
}

/// All objects at one revision.
///
/// # Errors
/// When etcd can't be read.
pub(super) async fn load(cluster: &Cluster, keys: &Keys) -> Result<Image, StoreError> {
    let prefix = keys.objects();
    let mut range =
        RangeRequest { range_end: end_of(&prefix), key: prefix, limit: PAGE, ..RangeRequest::default() };
    let mut objects = Vec::new();
    loop {
        let page = cluster.ask(|channel| {
            let request = led(range.clone());
            let mut client = KvClient::new(channel).max_decoding_message_size(ANSWER_MAX);
            async move { client.range(request).await }
        });
        let page = page.await?.into_inner();
        if range.revision == 0 {
            range.revision = number(revision_of(page.header.as_ref()));
        }
        if let Some(last) = page.kvs.last() {
            let mut next = last.key.to_vec();
            next.push(0);
            range.key = next.into();
        }
        objects.extend(page.kvs.iter().filter_map(|kv| stored(keys, &kv.key, &kv.value, kv.mod_revision)));
        if !page.more {
            return Ok(Image::new(revision(range.revision), objects));
        }
    }
}

/// Keeps the image as etcd is, until nobody has a use for it.
pub(super) async fn keep(
    cluster: Arc<Cluster>,
    keys: Keys,
    images: watch::Sender<Arc<Image>>,
    is_following: IntGauge,
) {
    let mut is_lost = false;
    loop {
        let end = tokio::select! {
            end = follow(&cluster, &keys, &images, &mut is_lost, &is_following) => end,
            () = images.closed() => return,
        };
        is_following.set(0);
        let why = match end {
            End::Lost(why) => why,
            End::Failed(error) => error.to_string(),
            End::Forgotten => match load(&cluster, &keys).await {
                Ok(image) => {
                    tracing::info!(revision = %image.revision(), "etcd has been read anew: too much had happened");
                    images.send_replace(Arc::new(image));
                    continue;
                }
                Err(error) => error.to_string(),
            },
        };
        if !std::mem::replace(&mut is_lost, true) {
            tracing::warn!(
                why,
                "etcd is not followed any more; what is known is served, and it is tried again"
            );
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn follow(
    cluster: &Cluster,
    keys: &Keys,
    images: &watch::Sender<Arc<Image>>,
    is_lost: &mut bool,
    is_following: &IntGauge,
) -> End {
    let link = match cluster.link().await {
        Ok(link) => link,
        Err(error) => return End::Failed(error),
    };
    let prefix = keys.objects();
    let create = WatchCreateRequest {
        range_end: end_of(&prefix),
        key: prefix,
        start_revision: number(images.borrow().revision()).saturating_add(1),
    };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The request stream stays open: its end would be the watch's.
    let requests = futures_util::stream::iter([create]).chain(futures_util::stream::pending());
    let mut client = WatchClient::new(link.channel.clone()).max_decoding_message_size(ANSWER_MAX);
    let opened = tokio::select! {
        opened = client.watch(led(requests)) => opened,
        () = cluster.given_up(&link) => return End::Lost("its connection was given up".to_owned()),
    };
    let mut answers = match opened {
        Ok(answers) => answers.into_inner(),
        Err(status) => {
            let why = words(&status);
            cluster.give_up(&link, &why).await;
            return End::Lost(why);
        }
    };
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer,
            () = cluster.given_up(&link) => return End::Lost("its connection was given up".to_owned()),
        };
        let answer = match answer {
            Ok(Some(answer)) => answer,
            ended => {
                let why = ended.err().map_or_else(|| "the watch ended".to_owned(), |status| words(&status));
                cluster.give_up(&link, &why).await;
                return End::Lost(why);
            }
        };
        if answer.canceled && answer.compact_revision > 0 {
            return End::Forgotten;
        }
        if answer.canceled {
            cluster.give_up(&link, &answer.cancel_reason).await;
            return End::Lost(answer.cancel_reason);
        }
        is_following.set(1);
        if std::mem::replace(is_lost, false) {
            tracing::info!("etcd is followed again");
        }
        if !answer.events.is_empty() {
            let next = advanced(&images.borrow(), keys, &answer);
            images.send_replace(Arc::new(next));
        }
    }
}

/// The image after what a watch told. All events of one revision are in one answer.
fn advanced(image: &Image, keys: &Keys, answer: &WatchResponse) -> Image {
    let mut image = image.clone();
    let mut last = image.revision();
    for event in &answer.events {
        let Some(kv) = &event.kv else { continue };
        last = last.max(revision(kv.mod_revision));
        let is_deletion = event.r#type == i32::from(EventType::Delete);
        let Some(key) = keys.object_of(&kv.key) else { continue };
        let previous = image.get(&key).cloned();
        let change = match (is_deletion, previous) {
            (true, None) => continue,
            (true, Some(previous)) => Event::Deleted {
                written: previous.revision,
                stored: Stored { revision: revision(kv.mod_revision), ..previous },
            },
            (false, previous) => match stored(keys, &kv.key, &kv.value, kv.mod_revision) {
                Some(stored) => Event::Put { stored, previous },
                None => continue,
            },
        };
        image.apply(change);
    }
    image.advance(last);
    image
}

fn stored(keys: &Keys, key: &[u8], value: &Bytes, mod_revision: i64) -> Option<Stored> {
    let key = keys.object_of(key)?;
    match Document::parse(value) {
        Ok(object) => Some(Stored { key, revision: revision(mod_revision), object }),
        Err(error) => {
            tracing::error!(%key, %error, "etcd holds something that is not JSON; it is left out");
            None
        }
    }
}

/// Waits until the image has come to a revision.
///
/// # Errors
/// [`StoreError::Unreachable`] when it does not in time.
pub(super) async fn caught_up(
    images: &watch::Receiver<Arc<Image>>,
    revision: Revision,
    patience: Duration,
) -> Result<Arc<Image>, StoreError> {
    let mut images = images.clone();
    let reached = images.wait_for(|image| image.revision() >= revision);
    match tokio::time::timeout(patience, reached).await {
        Ok(Ok(image)) => Ok(Arc::clone(&image)),
        Ok(Err(_closed)) => Err(StoreError::Closed),
        Err(_elapsed) => Err(StoreError::Unreachable(format!(
            "this replica has not heard from etcd of everything up to revision {revision} within {} s",
            patience.as_secs()
        ))),
    }
}
