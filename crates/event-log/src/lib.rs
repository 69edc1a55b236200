//! The record of everything that happens: append, read, subscribe, project, snapshot.
