//! The values in force in a form that may be shown, for `postern check`, pages and the API.

use super::name_lookup::{FILE, PropertyNames, variable};
use super::secret::MASK;
use super::settings::Settings;
use super::value_source::{PropertyTexts, ValueOrigin};
use crate::appliance::class::PropertyGroup;

/// A property, its value, and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownProperty {
    /// The property's name; the name of a group's field contains the member.
    pub name: String,
    /// The effective value, masked if it is a secret; empty = none.
    pub value: String,
    /// Its origin.
    pub source: ValueOrigin,
    /// Whether it is set to something else than its default.
    pub changed: bool,
    /// Whether the value is replaced by [`MASK`].
    pub masked: bool,
    /// The format of the value, as text.
    pub kind: &'static str,
    /// Whether the value has entries.
    pub list: bool,
    /// Where the property comes from.
    pub group: PropertyGroup,
    /// The first sentence of its meaning.
    pub summary: &'static str,
}

impl ShownProperty {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        variable(&self.name)
    }

    /// The origin as text: a variable, also of another image, a file with its variable, or
    /// `default`.
    pub fn origin(&self) -> String {
        let variable = self.variable();
        match &self.source {
            ValueOrigin::Environment => variable,
            ValueOrigin::File(path) => format!("{} ({variable}{FILE})", path.display()),
            ValueOrigin::Imported(from) => format!("{from} ({variable})"),
            ValueOrigin::Default => "default".to_owned(),
        }
    }
}

impl Settings {
    /// All properties in the order of the class.
    pub fn shown(&self) -> Vec<ShownProperty> {
        let names = PropertyNames::of_class();
        let (mut texts, defaults) = (self.write(), defaults(names));
        let mut all = Vec::new();
        for property in names.properties() {
            for name in names.instances(property, &texts) {
                let Some(text) = texts.remove(&name) else { continue };
                let default = defaults.get(&property.name).map(|text| text.value.as_str());
                let is_default = text.source == ValueOrigin::Default
                    // One that depends on the machine is not known here.
                    || (property.default_note.is_none() && default == Some(text.value.as_str()));
                // Some providers take one token as both.
                let password = name.strip_suffix("username").map(|all| format!("{all}password"));
                let is_secret = property.secret
                    || password
                        .and_then(|name| texts.get(&name))
                        .is_some_and(|password| password.value == text.value);
                let masked = is_secret && !text.value.is_empty();
                all.push(ShownProperty {
                    name,
                    value: if masked { MASK.to_owned() } else { text.value },
                    source: text.source,
                    changed: !is_default,
                    masked,
                    kind: &property.kind,
                    list: property.list,
                    group: property.group,
                    summary: property.summary(),
                });
            }
        }
        all
    }
}

/// The defaults of the class, written as values in force are: `127.0.0.1` of a list of networks has
/// more than one form.
fn defaults(names: PropertyNames<'static>) -> PropertyTexts {
    let mut texts = PropertyTexts::new();
    names.add_missing(&mut texts, |property| property.default.clone());
    Settings::from_texts(texts).map(|settings| settings.write()).unwrap_or_default()
}
