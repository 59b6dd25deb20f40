//! A process's life: signals, drain, supervised tasks, readiness, logging, metrics exposition.
