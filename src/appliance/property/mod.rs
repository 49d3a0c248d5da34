//! Properties: from environment variables to typed values.
//!
//! Purpose: all settings, read once by the supervisor and checked completely before anything else
//! happens. In: variables `MTA_<NAME>` and files named by `MTA_<NAME>_FILE`. Out: [`Settings`], or
//! every problem at once. Limits: a value has at most [`VALUE_LIMIT`] octets and no control
//! characters inside; variables are UTF-8. Security: secrets are masked wherever a value is shown
//! ([`Secret`]); the core gets them on its standard input, never in arguments or environment.
//!
//! [`settings`] is the table: one line for each property with its type and its reader. Below it are
//! the types and their grammars ([`value`], `name`, `mail_address`, `network`, [`secret`],
//! `choice`, [`account`], [`destination_rate`], [`dkim`], [`webhook`], [`upstream`] with its
//! `preset`s and [`oauth`]), their text form (`to_text`), and what makes a record of the table
//! (`properties_macro`, `typed_reader`). The manifest is `appliance/mta.toml`, in which
//! `name_lookup` finds names. Above it: `rules` between values, `serialize` (from and to texts),
//! `warnings`, `modes` (what is said about modes for staging), and the input: `env_scan` finds the
//! texts, `trim_value` removes what is not part of them, `service_links` and `foreign_names`
//! recognize variables of other programs, `import` takes them over on request, `machine` has the
//! defaults that depend on it, and [`environment`] combines them; [`read_again`] reads a file that
//! has changed. [`check`] is `postern check`, `masked_view` the values for display,
//! [`relay_summary`] describes which clients may relay.

pub mod account;
pub mod check;
mod choice;
pub mod destination_rate;
pub mod dkim;
mod env_scan;
pub mod environment;
mod foreign_names;
mod import;
mod machine;
mod mail_address;
mod masked_view;
mod modes;
mod name;
mod name_lookup;
mod named_upstream;
mod network;
pub mod oauth;
mod preset;
mod properties_macro;
pub mod proxy;
pub mod proxy_rules;
pub mod read_again;
pub mod relay_summary;
mod rules;
pub mod secret;
mod serialize;
mod service_links;
pub mod settings;
#[cfg(test)]
mod tests;
mod to_text;
mod trim_value;
mod typed_reader;
pub mod upstream;
mod upstream_warnings;
pub mod value;
mod value_source;
mod warnings;
pub mod webhook;

pub use choice::{
    AddressMasking, LogFormat, OtherRecipients, SmartRelayMode, UpstreamTls, WebhookEvent,
};
pub use env_scan::{VALUE_LIMIT, value_of_file};
pub use environment::{InvalidProperties, LoadedProperties, load, load_some, read};
pub use machine::Machine;
pub use mail_address::SenderRewrite;
pub use masked_view::ShownProperty;
pub use modes::StagingMode;
pub use secret::Secret;
pub use settings::Settings;
pub use value_source::ValueOrigin;
