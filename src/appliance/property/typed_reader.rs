//! Parses texts to typed values: all fields of a record at once, so that all mistakes are reported
//! together. The fields are in the record's table.

use super::name_lookup::{PropertyNames, variable};
use super::secret::MASK;
use super::to_text::Written;
use super::value::ValueError;
use super::value_source::{PropertyText, PropertyTexts, Sources, ValueOrigin};
use crate::appliance::failure::{Exit, Failure};
use std::mem::take;

/// Reads values one by one and collects the errors.
pub struct PropertyReader<'a> {
    names: PropertyNames<'a>,
    texts: PropertyTexts,
    /// The prefix of the names of fields: nothing, or a group and its member.
    prefix: String,
    sources: Sources,
    problems: Vec<Failure>,
}

impl<'a> PropertyReader<'a> {
    /// A reader of these texts; `names` has their defaults.
    pub fn new(names: PropertyNames<'a>, texts: PropertyTexts) -> Self {
        Self { names, texts, prefix: String::new(), sources: Sources::new(), problems: Vec::new() }
    }

    /// The value of a field, or `None` if it is wrong.
    pub fn value<F, V>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&str) -> Result<V, ValueError>,
    ) -> Option<F>
    where
        F: Written + From<V>,
    {
        let name = format!("{}{field}", self.prefix);
        let PropertyText { value, source } = self.texts.remove(&name).unwrap_or_default();
        self.sources.insert(field, source.clone());
        // Blanks at the ends are typing errors, except in a secret, where every character counts.
        let text = if F::SECRET { value.as_str() } else { value.trim() };
        if text.is_empty() {
            return self.empty(&name);
        }
        match read(text) {
            Ok(value) => Some(value.into()),
            Err(complaint) => {
                self.wrong::<F>(&name, text, &source, &complaint);
                None
            }
        }
    }

    /// The members of a group, each read by `read`.
    pub fn group<T>(
        &mut self,
        group: &str,
        read: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<std::collections::BTreeMap<String, T>> {
        let outer = self.sources();
        let members = self.names.members(&format!("{group}_"), &self.texts).into_iter();
        let records: Vec<_> = members
            .map(|member| {
                self.prefix = format!("{group}_{member}_");
                Some((member, read(self)?))
            })
            .collect();
        self.prefix.clear();
        self.sources = outer;
        // All first, so that one wrong member does not hide others.
        records.into_iter().collect()
    }

    /// The origins of the values that were read since the last call.
    pub fn sources(&mut self) -> Sources {
        take(&mut self.sources)
    }

    /// All errors.
    pub fn problems(self) -> Vec<Failure> {
        self.problems
    }

    fn empty<F: Written>(&mut self, name: &str) -> Option<F> {
        let default = self.names.name(name).map(|named| named.property.default.as_str());
        let value = F::empty(default.unwrap_or_default());
        if value.is_none() {
            self.problem(format!("Error: {name} has no value"), format!("set {}", variable(name)));
        }
        value
    }

    fn wrong<F: Written>(&mut self, name: &str, text: &str, source: &ValueOrigin, complaint: &str) {
        let shown = if F::SECRET { MASK.to_owned() } else { without_credentials(text) };
        let cause = match source {
            ValueOrigin::File(path) => format!("{} holds '{shown}'", path.display()),
            ValueOrigin::Imported(from) => {
                format!("{from} is '{shown}'; write {} instead", variable(name))
            }
            ValueOrigin::Environment | ValueOrigin::Default => {
                format!("{} is '{shown}'", variable(name))
            }
        };
        self.problem(format!("Error: {name} {complaint}"), cause);
    }

    fn problem(&mut self, line: String, cause: String) {
        self.problems.push(Failure::new(Exit::Property, line, cause));
    }
}

/// People write user names and passwords in front of hosts, and errors are logged.
fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("{MASK}@{host}"),
        None => text.to_owned(),
    }
}
