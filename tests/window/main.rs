//! The windows from outside: every route with curl, hostile clients, real monitors, the operator's tool.

#[path = "../support/desk.rs"]
mod desk;
#[path = "../support/window.rs"]
mod support;

mod limits;
mod orders;
mod pushes;
mod routes;
