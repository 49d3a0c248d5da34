//! A property's value as text, with its origin.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The origin of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueOrigin {
    /// It was not set.
    #[default]
    Default,
    /// The variable `MTA_<NAME>`.
    Environment,
    /// The file in `MTA_<NAME>_FILE`; UTF-8, as the variable is.
    File(PathBuf),
    /// This variable of another relay image, with `import_environment=yes`.
    Imported(String),
}

/// A value as text; empty = none. It may be a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PropertyText {
    /// In the form in which a person would write it.
    pub value: String,
    /// Its origin.
    pub source: ValueOrigin,
}

/// The texts of properties by name.
pub type PropertyTexts = BTreeMap<String, PropertyText>;

/// The origins of a record's values, by field.
pub type Sources = BTreeMap<&'static str, ValueOrigin>;
