//! What clients send: one table for each topic.

mod commands;
mod content;
mod header;
mod openers;
mod order;
mod parameters;
mod recipients;
mod senders;
pub mod way_out;

use crate::input::Input;
use std::collections::BTreeSet;

/// Every input of the receiving side. No two have the same name.
pub fn all() -> Vec<Input> {
    let all = [
        openers::all(),
        senders::all(),
        recipients::all(),
        parameters::all(),
        order::all(),
        commands::all(),
        content::all(),
        header::all(),
    ]
    .concat();
    let names: BTreeSet<&str> = all.iter().map(|input| &*input.name).collect();
    assert_eq!(names.len(), all.len(), "two inputs have the same name");
    all
}
