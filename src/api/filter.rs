//! A filter in the form for programs: in a query string, in an order, on the command line.
//!
//! Limits: a text has [`TEXT_MAX`] octets.

use crate::mail::model::{Filter, MessageState};
use serde::{Deserialize, Serialize};

/// Octets of a search text, at most.
pub const TEXT_MAX: usize = 320;

/// Letters and digits of a whole queue id.
const ID_MAX: usize = 13;

/// Conditions that must all hold; see [`Filter`] for their meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilterView {
    /// In recipient, sender, id, destination, error or subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub search: String,
    /// In a pending recipient.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub recipient: String,
    /// In the reverse-path; `<>` = none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sender: String,
    /// The start of the queue id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The whole name of a destination.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination: String,
    /// In the error of the last attempt.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// In the subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// `active`, `deferred`, `held` or `waiting`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// A duration such as `1h`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub older: String,
    /// A size such as `1M`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub larger: String,
}

impl FilterView {
    /// The names of the conditions, in the order in which pages show them.
    pub const NAMES: [&'static str; 10] = [
        "search",
        "recipient",
        "sender",
        "destination",
        "error",
        "subject",
        "id",
        "state",
        "older",
        "larger",
    ];

    /// The value of a condition by its name.
    pub fn field(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "search" => &mut self.search,
            "recipient" => &mut self.recipient,
            "sender" => &mut self.sender,
            "destination" => &mut self.destination,
            "error" => &mut self.error,
            "subject" => &mut self.subject,
            "id" => &mut self.id,
            "state" => &mut self.state,
            "older" => &mut self.older,
            "larger" => &mut self.larger,
            _ => return None,
        })
    }

    /// The conditions that are set, by name.
    pub fn conditions(&self) -> Vec<(&'static str, String)> {
        let mut copy = self.clone();
        let given =
            Self::NAMES.into_iter().filter_map(|name| Some((name, copy.field(name)?.clone())));
        given.filter(|(_, text)| !text.is_empty()).collect()
    }

    /// The filter for these conditions.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub fn filter(&self) -> Result<Filter, String> {
        if let Some((name, _)) =
            self.conditions().into_iter().find(|(_, text)| text.len() > TEXT_MAX)
        {
            return Err(format!("{name}: at most {TEXT_MAX} octets"));
        }
        if self.id.trim().chars().count() > ID_MAX {
            return Err(format!(
                "id: the start of a queue id is expected, which has {ID_MAX} letters and digits"
            ));
        }
        let standing = match self.state.as_str() {
            "" => None,
            word => {
                let standing =
                    MessageState::ALL.into_iter().find(|standing| standing.as_str() == word);
                Some(standing.ok_or("state: active, deferred, held or waiting is expected")?)
            }
        };
        Ok(Filter {
            search: self.search.trim().to_owned(),
            recipient: self.recipient.trim().to_owned(),
            sender: self.sender.trim().to_owned(),
            id: self.id.trim().to_owned(),
            destination: self.destination.trim().to_owned(),
            error: self.error.trim().to_owned(),
            subject: self.subject.trim().to_owned(),
            standing,
            older: given(&self.older).map(age).transpose()?,
            larger: given(&self.larger).map(octets).transpose()?,
        })
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn age(text: &str) -> Result<u32, String> {
    let parsed = humantime::parse_duration(text)
        .map_err(|_| "older: a duration such as 90s, 1h or 2d is expected".to_owned())?;
    Ok(u32::try_from(parsed.as_secs()).unwrap_or(u32::MAX))
}

fn octets(text: &str) -> Result<u64, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => 64,
    };
    let number: Option<u64> = number.parse().ok();
    let octets = number
        .filter(|number| shift < 64 && *number <= u64::MAX >> shift)
        .map(|number| number << shift);
    octets.ok_or_else(|| "larger: a size such as 100K or 1M is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_understood_or_refused() {
        let view = FilterView {
            state: "held".into(),
            older: "1h".into(),
            larger: "2K".into(),
            ..FilterView::default()
        };
        let filter = view.filter().unwrap();
        assert_eq!(
            (filter.standing, filter.older, filter.larger),
            (Some(MessageState::Held), Some(3600), Some(2048))
        );
        for (name, bad) in [
            ("state", "lost"),
            ("id", "00000000000000"),
            ("older", "1"),
            ("larger", "M"),
            ("larger", "1X"),
            ("larger", "99999999999G"),
            ("subject", &"x".repeat(TEXT_MAX + 1)),
        ] {
            let mut view = FilterView::default();
            *view.field(name).unwrap() = bad.to_owned();
            assert!(view.filter().is_err(), "{name}={bad}");
        }
    }
}
