//! A proxy pair side by side with its peers.
