//! Finds the texts of properties in the environment variables.
//!
//! Names that begin with `MTA_` belong to the appliance, so an unknown one is a typing error. Any
//! content of the environment is handled without a panic: variables are read raw and checked for
//! UTF-8.

use super::foreign_names;
use super::import::{ImportedText, ImportedValue, import};
use super::name_lookup::{FILE, Named, PropertyNames};
use super::service_links::is_service_link;
use super::trim_value::{Clean, clean};
use super::value;
use super::value_source::{PropertyText, PropertyTexts, ValueOrigin};
use crate::appliance::class::PREFIX;
use crate::appliance::failure::{Exit, Failure};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Octets of one value, at most: more than any reasonable list of networks.
pub const VALUE_LIMIT: usize = 16 * 1024;

/// Octets of a list of accounts in a file, at most: some thousand.
pub const ACCOUNTS_FILE_LIMIT: usize = 1 << 20;

/// The property that says whether variables of other images are taken over.
const IMPORT: &str = "import_environment";

/// The content of an environment.
pub struct FoundProperties {
    /// The cleaned texts of the properties that were set.
    pub texts: PropertyTexts,
    /// What is wrong.
    pub problems: Vec<Failure>,
    /// Warnings that do not stop the start.
    pub warnings: Vec<String>,
    /// What became of the variables of another image.
    pub notes: Vec<String>,
}

/// Sorts variables into values and problems.
pub fn find(
    vars: impl Iterator<Item = (OsString, OsString)>,
    names: PropertyNames<'_>,
) -> FoundProperties {
    let mut finder = Finder {
        names,
        texts: PropertyTexts::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        links: Vec::new(),
    };
    let is_own =
        |(name, _): &(OsString, OsString)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    let (own, others): (Vec<_>, Vec<_>) = vars.partition(is_own);
    own.into_iter().for_each(|(name, value)| finder.take(&name, value));
    if finder.imports() {
        finder.import(&others);
    } else {
        others.iter().for_each(|(name, value)| finder.pass(name, value));
    }
    finder.warn_about_links();
    let Finder { texts, problems, warnings, notes, .. } = finder;
    FoundProperties { texts, problems, warnings, notes }
}

/// The value of a property from the content of its file, as at the start.
///
/// # Errors
/// What is wrong with the content, without any of it.
pub fn value_of_file(name: &str, path: &Path, octets: Vec<u8>) -> Result<String, String> {
    let named = PropertyNames::of_class().name(name).ok_or("there is no such property")?;
    let text = text_of(octets)?;
    match clean(&named, &ValueOrigin::File(path.to_owned()), &text) {
        Ok(Clean { value, .. }) if value.is_empty() => Err("it is empty".to_owned()),
        Ok(Clean { value, .. }) if value.len() > VALUE_LIMIT => Err("it is too long".to_owned()),
        Ok(Clean { value, .. }) => Ok(value),
        Err(dirty) => Err(format!("it {}; {}", dirty.what, dirty.advice)),
    }
}

struct Finder<'a> {
    names: PropertyNames<'a>,
    texts: PropertyTexts,
    problems: Vec<Failure>,
    warnings: Vec<String>,
    notes: Vec<String>,
    /// Variables made by container engines.
    links: Vec<String>,
}

impl Finder<'_> {
    fn take(&mut self, variable: &OsStr, value: OsString) {
        let shown = variable.to_string_lossy().into_owned();
        let Ok(value) = value.into_string() else {
            return self.problem(
                format!("Error: {shown} is not UTF-8 text"),
                "write the value again, without special characters",
            );
        };
        if is_service_link(&shown, &value) {
            return self.links.push(shown);
        }
        let name = shown.strip_prefix(PREFIX).unwrap_or_default();
        // `ssl_key_file` is a property itself, so the whole name is tried first.
        if let Some(named) = self.names.variable(name) {
            if !value.is_empty() {
                self.found(&named, &value, ValueOrigin::Environment);
            }
        } else if let Some(named) = self.names.file(name) {
            if !value.is_empty() {
                self.take_file(&named, Path::new(&value));
            }
        } else {
            self.unknown(&shown);
        }
    }

    fn take_file(&mut self, named: &Named<'_>, path: &Path) {
        let name = &named.name;
        let place = format!("{}{FILE}={}", named.variable(), path.display());
        match read_value(path, limit(named, true)) {
            // An empty password would open what should be closed.
            Ok(text)
                if named.property.secret
                    && text.trim_matches(['\u{feff}', '\r', '\n']).is_empty() =>
            {
                self.problem(
                    format!("Error: the file for {name} is empty"),
                    format!("{place}: write the value into it"),
                )
            }
            Ok(text) => self.found(named, &text, ValueOrigin::File(path.to_owned())),
            Err(cause) => self.problem(
                format!("Error: the file for {name} cannot be read"),
                format!("{place}: {cause}"),
            ),
        }
    }

    fn found(&mut self, named: &Named<'_>, text: &str, source: ValueOrigin) {
        let variable = named.variable();
        // In an error text a file is named as such, because its variable contains only a path.
        let place = match &source {
            ValueOrigin::File(path) => format!("{variable}{FILE}={}: ", path.display()),
            ValueOrigin::Imported(from) => format!("of {from}: "),
            ValueOrigin::Environment | ValueOrigin::Default => String::new(),
        };
        let limit = limit(named, matches!(source, ValueOrigin::File(_)));
        if text.len() > limit {
            return self.problem(
                format!("Error: {variable} is too long"),
                format!("{place}at most {limit} octets"),
            );
        }
        match clean(named, &source, text) {
            Err(dirty) => self.problem(
                format!("Error: {variable} {}", dirty.what),
                format!("{place}{}", dirty.advice),
            ),
            Ok(_) if self.texts.contains_key(&named.name) => {
                self.problem(
                    format!("Error: both {variable} and {variable}{FILE} are set"),
                    "use one of them",
                );
            }
            Ok(Clean { value, warning }) => {
                self.warnings.extend(warning);
                if !value.is_empty() {
                    self.texts.insert(named.name.clone(), PropertyText { value, source });
                }
            }
        }
    }

    /// Whether variables of other images are to be taken over.
    fn imports(&self) -> bool {
        let text = self.texts.get(IMPORT).map_or("", |text| text.value.as_str());
        value::flag(text).unwrap_or(false)
    }

    fn import(&mut self, others: &[(OsString, OsString)]) {
        let texts = &self.texts;
        let vars = others.iter().map(|(name, value)| (name, value));
        let imported = import(vars, |property| texts.contains_key(property));
        self.problems.extend(imported.problems);
        self.notes.extend(imported.notes);
        for ImportedValue { property, variable, value } in imported.values {
            let Some(named) = self.names.name(property) else { continue };
            match value {
                ImportedText::File(path) => self.take_file(&named, &path),
                ImportedText::Text(text) => {
                    self.found(&named, &text, ValueOrigin::Imported(variable));
                }
            }
        }
    }

    /// A variable without the prefix `MTA_`; one in the wrong case, or without its prefix, gets a
    /// warning.
    fn pass(&mut self, variable: &OsStr, value: &OsStr) {
        let shown = variable.to_string_lossy();
        if value.is_empty() {
            return;
        }
        self.warnings.extend(foreign_names::without_prefix(self.names, &shown));
        let upper = shown.to_ascii_uppercase();
        let name = upper.strip_prefix(PREFIX).unwrap_or_default();
        if self.names.variable(name).or_else(|| self.names.file(name)).is_some() {
            self.warnings
                .push(format!("{shown} is ignored: properties are upper case, write {upper}"));
        }
    }

    /// One line for all service links.
    fn warn_about_links(&mut self) {
        self.links.sort_unstable();
        let Some(first) = self.links.first() else { return };
        let others = match self.links.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        self.warnings.push(format!(
            "{first}{others} are ignored: a container engine makes them for a service named mta. \
            Without them in Kubernetes: \
             enableServiceLinks: false"
        ));
    }

    fn unknown(&mut self, variable: &str) {
        let advice = variable.strip_prefix(PREFIX).and_then(foreign_names::advice);
        let of_member = || {
            let meant = self.names.with_plain_member(variable)?;
            Some(format!("a name in the middle has letters and digits only: write {meant}"))
        };
        let nearest = || Some(format!("did you mean {}?", self.names.nearest(variable)?));
        let advice = advice.or_else(of_member).or_else(nearest);
        let all = "`postern describe` lists all properties";
        let cause = match advice {
            Some(advice) if advice.ends_with('?') => format!("{advice} {all}"),
            Some(advice) => format!("{advice}; {all}"),
            None => all.to_owned(),
        };
        self.problem(format!("Error: there is no property {variable}"), cause);
    }

    fn problem(&mut self, line: String, cause: impl Into<String>) {
        self.problems.push(Failure::new(Exit::Property, line, cause));
    }
}

fn limit(named: &Named<'_>, from_file: bool) -> usize {
    match from_file && named.property.kind == "accounts" {
        true => ACCOUNTS_FILE_LIMIT,
        false => VALUE_LIMIT,
    }
}

fn read_value(path: &Path, limit: usize) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(limit as u64 + 2).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    text_of(bytes)
}

fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is not UTF-8 text but UTF-16: save it as UTF-8".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}
