//! Addresses that are there again after a restart.

use anyhow::{Context, Result};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// Below the ports that Linux gives to whoever asks for any, so that nobody takes one while its program is away.
const FIRST: u16 = 10_240;
/// How many there are.
const PORTS: u16 = 20_000;
/// Ports that are tried.
const TRIES: usize = 100;

/// A free address on loopback, as a flag takes it.
///
/// # Errors
/// All that were tried are in use.
pub(crate) fn address() -> Result<String> {
    let free = (0..TRIES).find_map(|_| {
        let random = RandomState::new().hash_one(0) % u64::from(PORTS);
        let port = FIRST + u16::try_from(random).unwrap_or_default();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
    });
    let free = free.with_context(|| format!("no free port among {TRIES}"))?;
    Ok(free.local_addr().context("asking for the address")?.to_string())
}
