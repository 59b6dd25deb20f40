//! A write as a transaction of etcd, and what its answer means. Pure: another room calls.
//!
//! Every write also writes the key that [`Latest`](super::latest::Latest) reads, in the same transaction.

use super::keys::Keys;
use super::wire::{Compare, RequestOp, TxnRequest, TxnResponse};
use super::wire::{delete, first_read, is_absent, is_at, is_there, put, read, revision, revision_of};
use crate::store::{Document, Expect, Key, StoreError, Stored};
use bytes::Bytes;

/// What is to be done to an object.
#[derive(Clone)]
pub(super) enum Step {
    Put(Document),
    Delete,
}

/// The transaction: it takes place if `expect` holds, else it tells what is there.
pub(super) fn transaction(keys: &Keys, key: &Key, step: &Step, expect: Expect) -> TxnRequest {
    let place = keys.object(key);
    let compare: Option<Compare> = match (expect, step) {
        (Expect::Any, Step::Put(_)) => None,
        (Expect::Any, Step::Delete) => Some(is_there(place.clone())),
        (Expect::Absent, _) => Some(is_absent(place.clone())),
        (Expect::At(revision), _) => Some(is_at(place.clone(), revision)),
    };
    let change: RequestOp = match step {
        Step::Put(object) => put(place.clone(), Bytes::from_owner(object.clone()), 0),
        Step::Delete => delete(place.clone()),
    };
    let last = put(keys.objects(), Bytes::new(), 0);
    TxnRequest {
        compare: compare.into_iter().collect(),
        success: vec![change, last],
        failure: vec![read(place)],
    }
}

/// What came of it.
///
/// # Errors
/// As [`Store::put`](crate::store::Store::put) and `delete` promise.
pub(super) fn outcome(
    key: Key,
    step: Step,
    expect: Expect,
    answer: TxnResponse,
) -> Result<Stored, StoreError> {
    let written = revision_of(answer.header.as_ref());
    if answer.succeeded {
        let object = match step {
            Step::Put(object) => object,
            Step::Delete => match first_read(answer) {
                Some(last) => {
                    Document::parse(&last.value).unwrap_or_else(|_| Document::of(&serde_json::Value::Null))
                }
                None => return Err(StoreError::NotFound { key }),
            },
        };
        return Ok(Stored { key, revision: written, object });
    }
    Err(match (expect, first_read(answer)) {
        (Expect::At(expected), Some(there)) => {
            StoreError::Conflict { key, expected, found: revision(there.mod_revision) }
        }
        (Expect::Absent, Some(_)) => StoreError::AlreadyExists { key },
        // Deleted by someone else, or never there.
        (_, _) => StoreError::NotFound { key },
    })
}
