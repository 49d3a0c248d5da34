//! The condition of terminals and volumes.

use crate::ground::clock;
use crate::ground::display_text::{harmless, shorten};
use crate::ground::lock::{Guard, Lock};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Characters of a cause.
const SHOWN: usize = 200;

/// The condition of a terminal or a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A terminal that is connected and works.
    Connected,
    /// A volume, or a file server of a terminal, that is mounted.
    Mounted,
    /// It is not configured.
    NotConnected,
    /// It does not work.
    Failing,
}

/// A terminal or a volume at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentStatus {
    /// Its name in the class.
    pub name: &'static str,
    /// Never [`Condition::Failing`]: that is set by [`Components::note`].
    pub condition: Condition,
    /// Its connection, as text.
    pub text: String,
}

/// A terminal or a volume now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentView {
    /// Its name.
    pub name: String,
    /// Its condition.
    pub condition: Condition,
    /// Its connection and, if it fails, the reason; as text.
    pub state: String,
    /// Since when it fails, RFC 3339; `null` when it does not.
    pub since: Option<String>,
}

/// All terminals and volumes.
pub struct Components {
    terminals: Vec<ComponentStatus>,
    volumes: Vec<ComponentStatus>,
    failing: Lock<HashMap<&'static str, (u32, String)>>,
}

impl Components {
    /// Their state at the start.
    pub fn new(terminals: Vec<ComponentStatus>, volumes: Vec<ComponentStatus>) -> Self {
        Self { terminals, volumes, failing: Lock::default() }
    }

    /// Records that a part fails, and why, or that it works.
    pub(crate) fn note(&self, name: &'static str, trouble: Option<String>) {
        let mut failing = self.lock();
        match trouble {
            Some(why) => {
                failing.entry(name).or_insert_with(|| (clock::now(), String::new())).1 = why
            }
            None => drop(failing.remove(name)),
        }
    }

    /// The terminals now.
    pub(crate) fn terminals(&self) -> Vec<ComponentView> {
        self.views(&self.terminals)
    }

    /// The volumes now.
    pub(crate) fn volumes(&self) -> Vec<ComponentView> {
        self.views(&self.volumes)
    }

    fn views(&self, parts: &[ComponentStatus]) -> Vec<ComponentView> {
        let failing = self.lock();
        let view = |part: &ComponentStatus| match failing.get(part.name) {
            Some((since, why)) => ComponentView {
                name: part.name.to_owned(),
                condition: Condition::Failing,
                state: format!("{}; {}", part.text, shorten(&harmless(why), SHOWN)),
                since: Some(clock::rfc3339(*since)),
            },
            None => ComponentView {
                name: part.name.to_owned(),
                condition: part.condition,
                state: part.text.clone(),
                since: None,
            },
        };
        parts.iter().map(view).collect()
    }

    fn lock(&self) -> Guard<'_, HashMap<&'static str, (u32, String)>> {
        self.failing.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_beginning_and_ends() {
        let part = ComponentStatus {
            name: "mon",
            condition: Condition::Connected,
            text: "connected to http://mon".to_owned(),
        };
        let components = Components::new(vec![part], Vec::new());
        assert_eq!(
            (components.terminals()[0].condition, &components.terminals()[0].since),
            (Condition::Connected, &None)
        );
        components.note("mon", Some("refused".to_owned()));
        let since = components.terminals()[0].since.clone();
        components.note("mon", Some("no answer\u{202e}".to_owned()));
        let now = components.terminals().remove(0);
        assert_eq!((now.condition, now.since), (Condition::Failing, since));
        assert!(
            now.state.starts_with("connected to http://mon; no answer")
                && !now.state.contains('\u{202e}'),
            "{}",
            now.state
        );
        components.note("mon", None);
        assert_eq!(components.terminals()[0].condition, Condition::Connected);
    }
}
