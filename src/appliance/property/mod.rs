//! Properties: from environment variables to typed values.
//!
//! Purpose: everything a person can set, read once by the supervisor, checked in full before
//! anything else happens.
//! In: variables `MTA_<NAME>` and files named by `MTA_<NAME>_FILE`. Out: [`Settings`], or every
//! problem at once.
//! Limits: a value has at most [`VALUE_LIMIT`] octets and no control characters inside; variables
//! are UTF-8.
//! Security: secrets are masked wherever a value is shown ([`Secret`]); the core gets them on its
//! standard input, never in arguments or environment.
//!
//! [`settings`] is the table: one line for each property with its type and its reader. Below it
//! stand the types and their grammars ([`value`], `name`, `network`, [`secret`], `choice`,
//! [`account`], [`webhook`]), how they are written (`written`), and what makes a record of a table
//! (`table`, `reader`). Beside it stands the manifest, `appliance/mta.toml`, which `lookup` looks
//! names up in. Above it: `rules` between values, `hand_over` (from texts and back), `warnings`,
//! and the way in: `finder` finds the texts, `clean` takes away what is not theirs, `service_links`
//! and `other_words` know variables that are not ours, `machine` has the defaults that depend on
//! it, and [`environment`] joins them. [`check`] is `postern check`, `shown` what people see of
//! values, [`relay`] says in words who may relay.

pub mod account;
pub mod check;
mod choice;
mod clean;
pub mod environment;
mod finder;
mod hand_over;
mod lookup;
mod machine;
mod name;
mod network;
mod other_words;
mod reader;
pub mod relay;
mod rules;
pub mod secret;
mod service_links;
pub mod settings;
mod shown;
mod source;
mod table;
#[cfg(test)]
mod tests;
pub mod value;
mod warnings;
pub mod webhook;
mod written;

pub use choice::{AddressMasking, LogFormat, WebhookEvent};
pub use environment::{Loaded, Refused, load, read};
pub use finder::VALUE_LIMIT;
pub use machine::Machine;
pub use secret::Secret;
pub use settings::Settings;
pub use shown::ShownProperty;
pub use source::Source;
