//! Converts settings from and to texts: from an environment, and from the supervisor to the core as
//! one JSON object.
//!
//! Security: secrets are in the object; the core gets it on its standard input.

use super::name_lookup::PropertyNames;
use super::settings::Settings;
use super::typed_reader::PropertyReader;
use super::value_source::PropertyTexts;
use crate::appliance::failure::{Exit, Failure};

impl Settings {
    /// Parses the texts.
    ///
    /// # Errors
    /// Every wrong value and every violated rule, each with its own failure.
    pub fn from_texts(texts: PropertyTexts) -> Result<Self, Vec<Failure>> {
        let mut reader = PropertyReader::new(PropertyNames::of_class(), texts);
        let settings = Self::read(&mut reader);
        let mut problems = reader.problems();
        problems.extend(settings.iter().flat_map(Self::broken_rules));
        match settings {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => Err(problems),
        }
    }

    /// Reads the output of [`Settings::to_json`]: used by the core.
    ///
    /// # Errors
    /// The text is not such an object, or a value is wrong; both mean that the core was not started
    /// by the supervisor.
    pub fn from_json(json: &str) -> Result<Self, Vec<Failure>> {
        let failure = |error: &dyn std::fmt::Display| {
            let cause = format!(
                "the core did not get its properties ({error}); start it by `postern init`"
            );
            vec![Failure::preconfigure(Exit::Property, cause)]
        };
        let texts = serde_json::from_str::<PropertyTexts>(json).map_err(|error| failure(&error))?;
        match texts.keys().find(|name| PropertyNames::of_class().name(name).is_none()) {
            Some(unknown) => Err(failure(&format_args!("there is no property {unknown}"))),
            None => Self::from_texts(texts),
        }
    }

    /// All effective values with their origins, secrets included, as one JSON object.
    pub fn to_json(&self) -> String {
        // A map of texts; paths in it were values of variables in UTF-8. It can always be written
        // as JSON.
        serde_json::to_string(&self.write()).unwrap_or_default()
    }
}
