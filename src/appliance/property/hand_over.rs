//! Settings from texts and back: out of an environment, and from the supervisor to the core as one
//! JSON object.
//!
//! Security: secrets are in the object; the core gets it on its standard input.

use super::lookup::Names;
use super::reader::Reader;
use super::settings::Settings;
use super::source::Texts;
use crate::appliance::failure::{Exit, Failure};

impl Settings {
    /// Gives types to texts.
    ///
    /// # Errors
    /// Every value that is wrong and every rule that is broken, each with its own failure.
    pub fn from_texts(texts: Texts) -> Result<Self, Vec<Failure>> {
        let mut reader = Reader::new(Names::of_class(), texts);
        let settings = Self::read(&mut reader);
        let mut problems = reader.problems();
        problems.extend(settings.iter().flat_map(Self::broken_rules));
        match settings {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => Err(problems),
        }
    }

    /// Reads what [`Settings::to_json`] wrote: the core's side of the hand-over.
    ///
    /// # Errors
    /// The text is no such object, or a value is wrong; both mean that somebody else than the
    /// supervisor started the core.
    pub fn from_json(json: &str) -> Result<Self, Vec<Failure>> {
        let failure = |error: &dyn std::fmt::Display| {
            let cause = format!(
                "the core did not get its properties ({error}); start it by `postern init`"
            );
            vec![Failure::preconfigure(Exit::Property, cause)]
        };
        let texts = serde_json::from_str::<Texts>(json).map_err(|error| failure(&error))?;
        match texts.keys().find(|name| Names::of_class().name(name).is_none()) {
            Some(unknown) => Err(failure(&format_args!("there is no property {unknown}"))),
            None => Self::from_texts(texts),
        }
    }

    /// All effective values with their sources, secrets included, as one JSON object.
    pub fn to_json(&self) -> String {
        // A map of texts; paths in it were values of variables in UTF-8. Nothing of it can fail to
        // become JSON.
        serde_json::to_string(&self.write()).unwrap_or_default()
    }
}
