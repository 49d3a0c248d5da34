//! The HTTP server from outside: every route with curl, hostile clients, real monitors, the
//! operator's tool.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a test that fails"
)]

#[path = "../support/admin.rs"]
mod admin;
#[path = "../support/hook.rs"]
mod hook;
#[allow(dead_code, reason = "each test program uses its own part of this")]
#[path = "../support/patience.rs"]
mod patience;
#[path = "../support/ui.rs"]
mod support;

mod alerts;
mod doors;
mod limits;
mod monitors;
mod orders;
mod proxy;
mod pushes;
mod reading;
mod resend;
mod route_test;
mod routes;
mod sending;
mod views;
mod webhooks;
