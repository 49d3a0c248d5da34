//! A property's value as text, with the place that it came from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Nothing was set.
    #[default]
    Default,
    /// The variable `MTA_<NAME>`.
    Environment,
    /// The file that `MTA_<NAME>_FILE` names; UTF-8, as the variable is.
    File(PathBuf),
}

/// A value as text; empty = none. Secrets are in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// In the form in which a person would write it.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

/// The texts of properties by name.
pub type Texts = BTreeMap<String, Text>;

/// Where the values of a record came from, by field.
pub type Sources = BTreeMap<&'static str, Source>;
