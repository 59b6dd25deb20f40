//! How configuration comes: delta discovery from the control plane.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`decode`] | a resource's bytes become a value that can be used, or a sentence naming the field. Pure |
//! | [`held`] | the last good state of every resource asked for. Pure |
//! | [`wanted`] | what is needed: named, asked for by traffic, or backends of routes. Pure |
//! | [`recent`] | what traffic asked for lately, bounded. Pure |
//! | [`session`] | the protocol as a state machine: messages in, messages and changes out. Pure |
//! | [`view`] | what is held becomes what requests read. Pure |
//! | [`cache`] | the last good configuration on disk |
//! | [`link`] | one stream: requests go in without waiting, responses come out |
//! | [`follower`] | the task that owns all of it |

pub(crate) mod cache;
pub(crate) mod decode;
pub(crate) mod follower;
pub(crate) mod held;
pub(crate) mod link;
pub(crate) mod recent;
pub(crate) mod session;
pub(crate) mod view;
pub(crate) mod wanted;
