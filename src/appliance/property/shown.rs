//! The values in force as people may see them, for `postern check` and for pages.

use super::lookup::{FILE, Names, variable};
use super::secret::MASK;
use super::settings::Settings;
use super::source::Source;
use crate::appliance::class::Property;

/// A property, its value, and where that came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownProperty {
    /// The property's name; that of a group's field has the member in it.
    pub name: String,
    /// The value in force, masked if it is a secret; empty = none.
    pub value: String,
    /// Where it came from.
    pub source: Source,
    /// The first sentence of what it does.
    pub summary: &'static str,
}

impl ShownProperty {
    /// Where the value came from, in words: a variable, a file with its variable, or `default`.
    pub fn origin(&self) -> String {
        let variable = variable(&self.name);
        match &self.source {
            Source::Environment => variable,
            Source::File(path) => format!("{} ({variable}{FILE})", path.display()),
            Source::Default => "default".to_owned(),
        }
    }
}

impl Settings {
    /// All properties in the order of the class.
    pub fn shown(&self) -> Vec<ShownProperty> {
        let names = Names::of_class();
        let mut texts = self.write();
        let mut all = Vec::new();
        for property in names.properties() {
            for name in names.instances(property, &texts) {
                let Some(text) = texts.remove(&name) else { continue };
                let value = masked(property, text.value);
                let summary = property.summary();
                all.push(ShownProperty { name, value, source: text.source, summary });
            }
        }
        all
    }
}

fn masked(property: &Property, value: String) -> String {
    if property.secret && !value.is_empty() { MASK.to_owned() } else { value }
}
