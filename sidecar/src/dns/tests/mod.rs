//! Promises of the server as programs on this machine see it: real sockets on ports the system chooses, a mesh in memory,
//! upstream servers that behave as a test tells them to.

mod forwarding;
mod hostile;
mod mesh;
mod world;
