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
//! The steps: [`environment`] finds the texts, `clean` takes away what is not theirs,
//! `service_links` and `other_words` know variables that are not ours, `envy` makes one flat record
//! of them, `reader` gives them the types of [`settings`] with the grammars of [`value`], `choice`
//! and [`webhook`]; `written` is the way back, and `warnings` says what stops nothing and should be
//! known. [`check`] is `postern check`, [`relay`] says in words who may relay.

pub mod account;
pub mod check;
mod choice;
mod clean;
pub mod environment;
mod other_words;
mod reader;
pub mod relay;
mod service_links;
pub mod settings;
pub mod value;
mod warnings;
pub mod webhook;
mod written;

pub use choice::{AddressMasking, LogFormat, WebhookEvent};
pub use environment::{Loaded, Machine, Refused, Source, VALUE_LIMIT, load, read};
pub use settings::{Secret, Settings};
