//! A setting of the appliance for display.

use serde::Serialize;

/// A property with its effective value. Secrets are masked before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// The environment variable that sets it.
    pub variable: String,
    /// As a person would write it; empty = none, asterisks where [`Setting::masked`].
    pub value: String,
    /// The kind of the value's origin.
    pub origin: SettingOrigin,
    /// The origin itself: a variable, a file with its variable, or `default`.
    pub source: String,
    /// The format of the value, with its unit.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether the value is a list.
    pub list: bool,
    /// The group of the class.
    pub group: SettingGroup,
    /// Whether the value is a secret that is not shown.
    pub masked: bool,
    /// Whether it differs from its default.
    pub changed: bool,
    /// Its meaning, in one sentence.
    pub summary: &'static str,
}

/// The group of the class that a property belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingGroup {
    /// Properties of the appliance of 2011.
    Founding,
    /// Properties added for containers.
    Container,
}

impl SettingGroup {
    /// All groups, in the order of the class.
    pub const ALL: [Self; 2] = [Self::Founding, Self::Container];
}

/// The kind of a value's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingOrigin {
    /// It was not set.
    Default,
    /// The variable of the property.
    Environment,
    /// A file named by a variable.
    File,
}
