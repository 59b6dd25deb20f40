//! Workers ask for services they have not got; the control thread subscribes to them. What enters is a service's
//! name, from any worker; what leaves, on the control thread, is the stream of names. Asking never waits: a worker
//! asks again when it still misses the service, so a full channel loses nothing but time.

use mesh_names::ServiceName;
use tokio::sync::mpsc;

/// Names in flight between workers and the control thread. A worker asks once per request that misses its service, so
/// this is reached only by a burst of requests to services never seen before; what does not fit is asked again.
pub const DEMAND_QUEUE_MAX: usize = 1024;

/// The workers' end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Demand {
    names: mpsc::Sender<ServiceName>,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Demands {
    names: mpsc::Receiver<ServiceName>,
}

/// Both ends.
pub fn channel() -> (Demand, Demands) {
    let (sender, receiver) = mpsc::channel(DEMAND_QUEUE_MAX);
    (Demand { names: sender }, Demands { names: receiver })
}

impl Demand {
    /// Asks for a service and its endpoints. Returns at once; `false` if the channel is full or closed.
    pub fn ask(&self, service: &ServiceName) -> bool {
        self.names.try_send(service.clone()).is_ok()
    }
}

impl Demands {
    /// The next name asked for, with repetitions; nothing once every worker is gone.
    ///
    /// # Cancel safety
    /// No name is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<ServiceName> {
        self.names.recv().await
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
        assert_eq!(demands.next().await, Some(name.clone()));
        assert!(demand.ask(&name));
    }
}
