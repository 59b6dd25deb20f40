//! Load balancing as pure functions of endpoints, load, time and randomness.
