//! What can be called: the catalogue of services and tools.
