//! Runs beside a service and carries its traffic: mutual TLS, balancing, retries, metrics.
