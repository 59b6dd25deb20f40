//! Workers ask for what they have not got: services by name, what is at an address, what a host outside of the mesh is.
//! The control thread subscribes to it. What enters is a wish, from any worker; what leaves, on the control thread, is the
//! stream of wishes. Asking never waits: a worker asks again when it still misses the answer, so a full channel loses
//! nothing but time.

use mesh_names::ServiceName;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Wishes in flight between workers and the control thread. A worker asks once per request that misses its answer, so
/// this is reached only by a burst of requests to places never seen before; what does not fit is asked again.
pub const DEMAND_QUEUE_MAX: usize = 1024;

/// What a worker misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A service and its endpoints.
    Service(ServiceName),
    /// What is at an address; never an IPv4 one mapped into IPv6.
    Address(IpAddr),
    /// The ExternalService that a host belongs to; in lower case, without a dot at its end.
    Host(Arc<str>),
}

/// The workers' end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Demand {
    wishes: mpsc::Sender<Wish>,
    heard: Arc<AtomicBool>,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Demands {
    wishes: mpsc::Receiver<Wish>,
    heard: Arc<AtomicBool>,
}

/// Both ends.
pub fn channel() -> (Demand, Demands) {
    let (sender, receiver) = mpsc::channel(DEMAND_QUEUE_MAX);
    let heard = Arc::new(AtomicBool::new(false));
    (Demand { wishes: sender, heard: heard.clone() }, Demands { wishes: receiver, heard })
}

impl Demand {
    /// Asks for a service and its endpoints. Returns at once; `false` if the channel is full or closed.
    pub fn ask(&self, service: &ServiceName) -> bool {
        self.wishes.try_send(Wish::Service(service.clone())).is_ok()
    }

    /// Asks what is at an address. Returns at once; `false` if the channel is full or closed.
    pub fn ask_address(&self, address: IpAddr) -> bool {
        self.wishes.try_send(Wish::Address(address.to_canonical())).is_ok()
    }

    /// Whether the control plane is connected and answers. While it is not, whoever can do without its answer does
    /// not wait for it.
    pub fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// The control plane has left a question unanswered for as long as one waits: until its next word it counts as away.
    pub(crate) fn is_silent(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Asks for the ExternalService that a host belongs to. Returns at once; `false` if the channel is full or closed.
    pub fn ask_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.wishes.try_send(Wish::Host(host.into())).is_ok()
    }
}

impl Demands {
    /// Says whether the control plane can answer now. It can't until this is called.
    pub fn heard(&self, heard: bool) {
        self.heard.store(heard, Ordering::Relaxed);
    }

    /// The next wish, with repetitions; nothing once every worker is gone.
    ///
    /// # Cancel safety
    /// No wish is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Wish> {
        self.wishes.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn asking_never_waits_and_a_full_channel_says_so() {
        let (demand, mut demands) = channel();
        let name: ServiceName = "shop/orders".parse().unwrap();
        for _ in 0..DEMAND_QUEUE_MAX {
            assert!(demand.ask(&name));
        }
        assert!(!demand.ask(&name));
        assert_eq!(demands.next().await, Some(Wish::Service(name.clone())));
        assert!(demand.ask(&name));
    }

    #[tokio::test]
    async fn a_host_is_asked_for_in_its_one_form() {
        let (demand, mut demands) = channel();
        demand.ask_host("API.example.com.");
        assert_eq!(demands.next().await, Some(Wish::Host("api.example.com".into())));
    }

    #[tokio::test]
    async fn an_address_is_asked_for_in_its_one_form() {
        let (demand, mut demands) = channel();
        demand.ask_address("::ffff:10.0.0.1".parse().unwrap());
        assert_eq!(demands.next().await, Some(Wish::Address("10.0.0.1".parse().unwrap())));
    }
}
