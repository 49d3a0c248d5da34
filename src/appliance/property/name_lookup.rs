//! Finds the property for a name.
//!
//! In: properties, and the name of a variable or of a value. Out: the property, or the name that
//! was most likely meant.
//! A property whose name has `<name>` in it is a field of a group: `upstream_<name>_host` is set
//! by `MTA_UPSTREAM_BACKUP_HOST` for the member `backup`. A member's name has letters and digits,
//! so that it ends at the next underscore.

use super::value_source::{PropertyText, PropertyTexts, ValueOrigin};
use crate::appliance::class::{PREFIX, Property, class};
use std::collections::BTreeSet;

/// The suffix of the name of a variable whose value is the path of a file.
pub const FILE: &str = "_FILE";

/// The properties in which names are looked up.
#[derive(Debug, Clone, Copy)]
pub struct PropertyNames<'a>(&'a [Property]);

/// The property for a name.
#[derive(Debug, Clone)]
pub struct Named<'a> {
    /// Its declaration.
    pub property: &'a Property,
    /// Its name; that of a group's field has the member in it.
    pub name: String,
}

impl Named<'_> {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        variable(&self.name)
    }
}

/// The environment variable of a property's name.
pub fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_uppercase())
}

impl PropertyNames<'static> {
    /// All properties of the class.
    pub fn of_class() -> Self {
        Self::of(&class().property)
    }
}

impl<'a> PropertyNames<'a> {
    /// The given properties.
    pub fn of(properties: &'a [Property]) -> Self {
        Self(properties)
    }

    /// Their declarations.
    pub fn properties(self) -> &'a [Property] {
        self.0
    }

    /// The property of that name.
    pub fn name(self, name: &str) -> Option<Named<'a>> {
        let single = || self.0.iter().find(|property| property.name == name);
        let field = || self.0.iter().find(|property| member(property, name).is_some());
        let property = single().or_else(field)?;
        Some(Named { property, name: name.to_owned() })
    }

    /// The property of a variable's name without `MTA_`; upper case only, as it is documented.
    pub fn variable(self, name: &str) -> Option<Named<'a>> {
        let is_upper = !name.contains(|c: char| c.is_ascii_lowercase());
        is_upper.then(|| self.name(&name.to_ascii_lowercase())).flatten()
    }

    /// The property whose file a variable names, without `MTA_`.
    pub fn file(self, name: &str) -> Option<Named<'a>> {
        self.variable(name.strip_suffix(FILE)?)
    }

    /// The names of a property among these texts: its own, or one for each member of its group.
    pub fn instances(self, property: &Property, texts: &PropertyTexts) -> Vec<String> {
        let Some((group, field)) = property.parts() else { return vec![property.name.clone()] };
        let members = self.members(group, texts);
        members.iter().map(|member| format!("{group}{member}{field}")).collect()
    }

    /// Adds the default of every property without a text; a group's fields have one as soon as a
    /// member is named.
    pub fn add_missing(self, texts: &mut PropertyTexts, default: impl Fn(&Property) -> String) {
        for property in self.0 {
            for name in self.instances(property, texts) {
                let text =
                    || PropertyText { value: default(property), source: ValueOrigin::Default };
                texts.entry(name).or_insert_with(text);
            }
        }
    }

    /// The members of a group that have a text; `group` is the prefix of their names.
    pub fn members(self, group: &str, texts: &PropertyTexts) -> BTreeSet<String> {
        let of = |name: &String| {
            let property = self.name(name)?.property;
            let is_of_group = property.parts().is_some_and(|(own, _)| own == group);
            is_of_group.then(|| member(property, name)).flatten().map(str::to_owned)
        };
        texts.keys().filter_map(of).collect()
    }

    /// The variable that names a member of a group by letters and digits only, where the given one
    /// has other characters in the name.
    pub fn with_plain_member(self, variable: &str) -> Option<String> {
        let name = variable.strip_prefix(PREFIX)?.to_ascii_lowercase();
        let (name, file) = match name.strip_suffix(&FILE.to_ascii_lowercase()) {
            Some(name) => (name, FILE),
            None => (name.as_str(), ""),
        };
        self.0.iter().find_map(|property| {
            let (group, field) = property.parts()?;
            let member = name.strip_prefix(group)?.strip_suffix(field)?;
            let plain: String = member.chars().filter(char::is_ascii_alphanumeric).collect();
            let meant = self::variable(&format!("{group}{plain}{field}"));
            (!plain.is_empty()).then(|| format!("{meant}{file}"))
        })
    }

    /// The variable that was most likely meant.
    pub fn nearest(self, variable: &str) -> Option<String> {
        let upper = variable.to_uppercase();
        let words: Vec<&str> = upper.strip_prefix(PREFIX).unwrap_or(&upper).split('_').collect();
        self.0
            .iter()
            .flat_map(|property| candidates(property, &words))
            .flat_map(|(like, meant)| {
                let file = (format!("{like}{FILE}"), format!("{meant}{FILE}"));
                [(like, meant), file]
            })
            .map(|(like, meant)| (strsim::damerau_levenshtein(&upper, &like), meant))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, _)| *distance <= (variable.len() / 4).max(2))
            .map(|(_, meant)| meant)
    }
}

/// The member of a group in a name, if the property is the group's field.
fn member<'n>(property: &Property, name: &'n str) -> Option<&'n str> {
    let (group, field) = property.parts()?;
    let member = name.strip_prefix(group)?.strip_suffix(field)?;
    is_member(member).then_some(member)
}

fn is_member(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// The correct variables that a misspelt one, given by its words, may have meant. In a group the
/// member is the word in its position; if the name was left out, the text asks for it.
fn candidates(property: &Property, words: &[&str]) -> Vec<(String, String)> {
    let Some((group, field)) = property.parts() else {
        return vec![(property.variable(), property.variable())];
    };
    let member = words.get(group.matches('_').count()).map(|word| word.to_lowercase());
    let named = member.filter(|member| is_member(member)).map(|member| {
        let name = variable(&format!("{group}{member}{field}"));
        (name.clone(), name)
    });
    let nameless = variable(&format!("{}{field}", group.trim_end_matches('_')));
    named.into_iter().chain([(nameless, property.variable())]).collect()
}
