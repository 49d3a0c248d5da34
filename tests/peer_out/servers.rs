//! Real mail servers.
