//! Settings of other relay images, taken over with `import_environment=yes`.
//!
//! Purpose: whoever replaces another image changes the image's name and one variable, and nothing
//! else. In: the environment. Out: values of properties, a sentence for each variable about what
//! became of it, and problems. A variable that cannot be taken over is a problem and stops the
//! start: half of a configuration is worse than none, because nobody would notice the other half.
//! A property that is set by its own variable wins over an imported one. Which variables there are,
//! and what they mean: `table`. Source: the documentation of the images named there, postconf(5).
//! Security: a secret's value is never in a sentence.

mod convert;
mod table;

use super::name_lookup::{FILE, variable};
use crate::appliance::failure::{Exit, Failure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use table::{FOREIGN_VARIABLES, ForeignVariable, Meaning};

/// The prefix of variables that set a parameter of Postfix's `main.cf`.
const POSTFIX: &str = "POSTFIX_";

/// The property of the upstream's preset.
const PRESET: &str = "smart_relay_preset";

/// The property that names the clients.
const CLIENTS: &str = "smtpd_trusted_networks";

/// Prefixes of variables that only relay images have: one that is not in the table cannot be
/// imported.
const ONLY_RELAYS: [&str; 6] =
    [POSTFIX, "POSTMAP_", "POSTFIXMASTER_", "RELAYHOST_", "OPENDKIM_", "XOAUTH2_"];

/// Variables of the table that other programs have as well.
const ANYBODYS: [&str; 11] = [
    "TZ",
    "PORT",
    "DEBUG",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "LOG_SUBJECT",
    "BIND_IP",
    "KEY_PATH",
    "CERTIFICATE_PATH",
    "DESTINATION",
    "SSL_TYPE",
];

/// What the environment of another image gives.
#[derive(Debug, Default)]
pub struct ImportedProperties {
    /// Values of properties.
    pub values: Vec<ImportedValue>,
    /// What became of each variable, one sentence each.
    pub notes: Vec<String>,
    /// What cannot be imported.
    pub problems: Vec<Failure>,
}

/// A value for a property.
#[derive(Debug, PartialEq, Eq)]
pub struct ImportedValue {
    /// The property.
    pub property: &'static str,
    /// The variable that it came from.
    pub variable: String,
    /// The value.
    pub value: ImportedText,
}

/// A value, or where it is.
#[derive(Debug, PartialEq, Eq)]
pub enum ImportedText {
    /// In the form that the property takes.
    Text(String),
    /// In this file.
    File(PathBuf),
}

/// Takes over the settings of other images; `is_set` are the properties that are set by their own
/// variables.
pub fn import<'v>(
    vars: impl Iterator<Item = (&'v OsString, &'v OsString)>,
    is_set: impl Fn(&str) -> bool,
) -> ImportedProperties {
    let text = |(name, value): (&OsString, &OsString)| {
        Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
    };
    let found: BTreeMap<String, String> =
        vars.filter_map(text).filter(|(_, value)| !value.trim().is_empty()).collect();
    let mut importer = Importer { found: &found, out: ImportedProperties::default() };
    for name in found.keys() {
        importer.variable(name, &is_set);
    }
    importer.contradictions();
    importer.clients(&is_set);
    importer.out
}

/// What a variable of another image is here, if the table has it: the property, or a reason.
pub fn meaning(name: &str) -> Option<String> {
    let (foreign, _) = lookup(name)?;
    Some(match foreign.meaning {
        Meaning::Becomes(property)
        | Meaning::Converted(property, _)
        | Meaning::Host { property, .. }
        | Meaning::WithPreset { property, .. }
        | Meaning::PortOf(_, property) => format!("write {}", variable(property)),
        Meaning::NoEffect(words) | Meaning::Impossible(words) => words.to_owned(),
    })
}

/// Whether a variable is one of another relay image and nothing else has it.
pub fn is_of_relays_alone(name: &str) -> bool {
    let plain = name.strip_suffix(FILE).unwrap_or(name);
    lookup(name).is_some() && !ANYBODYS.contains(&plain)
}

struct Importer<'a> {
    found: &'a BTreeMap<String, String>,
    out: ImportedProperties,
}

impl Importer<'_> {
    fn variable(&mut self, name: &str, is_set: &impl Fn(&str) -> bool) {
        let Some((foreign, is_file)) = lookup(name) else {
            if ONLY_RELAYS.iter().any(|prefix| name.starts_with(prefix)) {
                self.problem(name, "there is no property for it; remove it");
            }
            return;
        };
        let value = &self.found[name];
        let given = match foreign.meaning {
            Meaning::NoEffect(words) => {
                return self.out.notes.push(format!("{name} has no effect here: {words}"));
            }
            Meaning::Impossible(words) => {
                let images: Vec<_> = foreign.images.iter().map(|image| image.name()).collect();
                let words = format!("it is a variable of {}: {words}", images.join(", "));
                return self.problem(name, &words);
            }
            // It is part of the host, where there is one.
            Meaning::PortOf(host, _) if self.found.contains_key(host) => return,
            Meaning::PortOf(host, _) => {
                let words = format!("it is the port of {host}, which is not set; remove it");
                return self.problem(name, &words);
            }
            Meaning::Becomes(property) if is_file => {
                Ok(Some((property, ImportedText::File(value.into()))))
            }
            Meaning::Becomes(property) => Ok(Some((property, ImportedText::Text(value.clone())))),
            Meaning::WithPreset { property, preset, unless } => {
                if !self.found.contains_key(unless) && !is_set(PRESET) {
                    self.value(PRESET, name, preset.to_owned().into());
                }
                let text = ImportedText::Text(value.clone());
                Ok(Some((property, if is_file { ImportedText::File(value.into()) } else { text })))
            }
            _ if is_file => Err("write the value itself, or the property and its file".to_owned()),
            Meaning::Converted(property, convert) => {
                convert(value.trim()).map(|text| text.map(|text| (property, text.into())))
            }
            Meaning::Host { property, port, default_port } => {
                let port = self.found.get(port).map_or(default_port, String::as_str);
                convert::host_and_port(value.trim(), port.trim())
                    .map(|text| Some((property, text.into())))
            }
        };
        match given {
            Err(words) => self.problem(name, &words),
            Ok(None) => {
                self.out.notes.push(format!("{name} asks for what happens here anyway"));
            }
            Ok(Some((property, _))) if is_set(property) => {
                let own = variable(property);
                self.out.notes.push(format!("{name} is ignored: {own} is set"));
            }
            Ok(Some((property, value))) => self.value(property, name, value),
        }
    }

    fn value(&mut self, property: &'static str, name: &str, value: ImportedText) {
        self.out.notes.push(format!("{name} becomes {property}"));
        self.out.values.push(ImportedValue { property, variable: name.to_owned(), value });
    }

    /// Most images trust private networks when nothing is said; here this host alone is trusted.
    fn clients(&mut self, is_set: &impl Fn(&str) -> bool) {
        let is_named = |given: &ImportedValue| given.property == CLIENTS;
        if !self.out.values.is_empty() && !is_set(CLIENTS) && !self.out.values.iter().any(is_named)
        {
            self.out.notes.push(format!(
                "no variable names the networks of the clients, so that only this host may relay; \
                 where the other image trusted all private networks, set \
                 {}=127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
                variable(CLIENTS)
            ));
        }
    }

    /// Two variables for one property are a problem unless they say the same.
    fn contradictions(&mut self) {
        let mut values: Vec<ImportedValue> = Vec::new();
        for given in std::mem::take(&mut self.out.values) {
            match values.iter().find(|other| other.property == given.property) {
                None => values.push(given),
                Some(other) if other.value == given.value => {}
                Some(other) => {
                    let words = format!(
                        "{} becomes {} too, with another value; remove one of them",
                        other.variable, other.property
                    );
                    self.problem(&given.variable, &words);
                }
            }
        }
        self.out.values = values;
    }

    fn problem(&mut self, name: &str, words: &str) {
        let line = format!("Error: {name} cannot be imported");
        self.out.problems.push(Failure::new(Exit::Property, line, words));
    }
}

impl From<String> for ImportedText {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// The table's entry for a variable, and whether the variable names a file. Parameters of Postfix
/// are in lower case there and in either case in variables.
fn lookup(name: &str) -> Option<(&'static ForeignVariable, bool)> {
    let entry = |name: &str| {
        FOREIGN_VARIABLES.iter().find(|entry| {
            match (entry.name.strip_prefix(POSTFIX), name.strip_prefix(POSTFIX)) {
                (Some(known), Some(given)) => known.eq_ignore_ascii_case(given),
                _ => entry.name == name,
            }
        })
    };
    let file = || name.strip_suffix(FILE).and_then(entry).map(|entry| (entry, true));
    entry(name).map(|entry| (entry, false)).or_else(file)
}

#[cfg(test)]
mod tests;
