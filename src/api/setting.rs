//! A setting of the appliance as people and programs may see it.

use serde::Serialize;

/// A property with its value in force. Secrets are masked before they come here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// The environment variable that sets it.
    pub variable: String,
    /// As a person would write it; empty = none, asterisks where [`Setting::masked`].
    pub value: String,
    /// From what kind of place the value came.
    pub origin: SettingOrigin,
    /// The place itself: a variable, a file with its variable, or `default`.
    pub source: String,
    /// The form of the value, which names its unit.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether the value has entries.
    pub list: bool,
    /// The group of the class: `founding` or `container`.
    pub group: &'static str,
    /// Whether the value is a secret that is not shown.
    pub masked: bool,
    /// Whether it is set to something else than its default.
    pub changed: bool,
    /// What it does, in one sentence.
    pub summary: &'static str,
}

/// From what kind of place a value came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingOrigin {
    /// Nothing was set.
    Default,
    /// The variable of the property.
    Environment,
    /// A file that a variable names.
    File,
}
