//! What a person should know, as Kubernetes' Events: `kubectl get events`, and at the end of `kubectl describe`. What enters is
//! the store's watch; what leaves is Events in the store, for an hour.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`notable`] | what of a change is worth a word. Pure |
//! | [`ledger`] | one Event for what happens again, and how many may be written. Pure over a clock |
//! | [`recorder`] | the task: follows the store, writes, and takes away what is old |

pub mod ledger;
pub mod notable;
pub mod recorder;
