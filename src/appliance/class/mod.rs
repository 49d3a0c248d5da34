//! The class of the appliance: what `appliance/mta.toml` declares.
//!
//! Purpose: one table for its readers (`postern describe`, docs/properties.md), for the code that
//! reads properties ([`crate::appliance::property`]) and for the tests that compare both. In: the
//! file itself, embedded in the program. Out: [`Class`]. Limits: none at run time; the file is part
//! of the build and a test parses it.

mod describe;

pub use describe::{Format, describe, run};

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

const TEXT: &str = include_str!("../../../appliance/mta.toml");

/// Everything that can be connected, configured or counted.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Name and purpose.
    pub class: About,
    /// What the appliance needs of the machine.
    pub resource: Vec<Resource>,
    /// The network connections (terminals).
    pub terminal: Vec<TerminalDeclaration>,
    /// The disks.
    pub volume: Vec<VolumeDeclaration>,
    /// The settings.
    pub property: Vec<Property>,
    /// The counters.
    pub counter: Vec<Counter>,
    /// The error lines of a failed start, literally.
    pub error: Vec<ErrorLine>,
    /// The alerts about a volume that is filling up.
    pub alert: Vec<AlertLine>,
    /// The packages inside the program.
    pub software: Vec<Software>,
}

/// Name and purpose of the class.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Its name in a catalog.
    pub name: String,
    /// The catalog.
    pub catalog: String,
    /// Its category there.
    pub category: String,
    /// What it is, in one line.
    pub summary: String,
    /// The latest version: that of the program.
    pub version: String,
    /// What it runs on.
    pub os: String,
    /// The image that it is built on, with the packages that come from there.
    pub base: String,
    /// Whether it has volumes that the user provides.
    pub user_volumes: bool,
    /// What limits its use.
    pub constraints: String,
}

/// A resource of the appliance, with its range.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// What is needed.
    pub name: String,
    /// Less is not enough.
    pub minimum: String,
    /// More is not used.
    pub maximum: String,
    /// A good initial value.
    pub default: String,
    /// The values that the tests use.
    pub tested: String,
}

/// A named network connection.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalDeclaration {
    /// Its name.
    pub name: String,
    /// `in` or `out`.
    pub direction: String,
    /// Its protocol.
    pub protocol: String,
    /// The property that connects it; terminal `in` needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// What it is for.
    pub help: String,
}

/// A named disk.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeDeclaration {
    /// Its name.
    pub name: String,
    /// The property that says where it is.
    pub property: String,
    /// `read/write` or `read only`.
    pub access: String,
    /// Whether the appliance starts without it.
    pub mandatory: bool,
    /// What lives on it.
    pub help: String,
}

/// A setting.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// Its name; the environment variable is [`Property::variable`]. With [`PLACE`] in it, it is a
    /// field of a group, which has as many members as names are used.
    pub name: String,
    /// The format of its value, for people.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value in force when nothing is set; empty = none.
    pub default: String,
    /// The default as text if it depends on the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_note: Option<String>,
    /// Whether the value is masked wherever it is shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// Whether it is a list: commas, blanks and line breaks separate the entries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub list: bool,
    /// Its origin: the founding document, or the container version.
    pub group: PropertyGroup,
    /// Its meaning, in one line.
    pub help: String,
}

impl Property {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_uppercase())
    }

    /// The text before and after the member's name, if it is a field of a group.
    pub fn parts(&self) -> Option<(&str, &str)> {
        self.name.split_once(PLACE)
    }

    /// The first sentence of its help.
    pub fn summary(&self) -> &str {
        self.help.split_once(". ").map_or(self.help.as_str(), |(first, _)| first)
    }
}

/// The placeholder for the member's name in the name of a group's field: `upstream_<name>_host`.
pub const PLACE: &str = "<name>";

/// The prefix of the environment variables of all properties.
pub const PREFIX: &str = "MTA_";

/// The origin of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PropertyGroup {
    /// The appliance of 2011.
    Founding,
    /// Added for the container world.
    Container,
}

impl PropertyGroup {
    /// The name that the class uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Founding => "founding",
            Self::Container => "container",
        }
    }
}

/// A metric that monitors read.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// Its Prometheus name.
    pub name: String,
    /// `gauge`, `counter` or `histogram`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The one label of its series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its name in the founding document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub founding: Option<String>,
    /// What it counts.
    pub help: String,
}

/// An error line of a failed start.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorLine {
    /// The literal text.
    pub line: String,
    /// The exit codes that may follow.
    pub exit: Vec<u8>,
    /// What was found.
    pub meaning: String,
    /// What to do.
    pub action: String,
}

/// An alert of the running appliance for the operator.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AlertLine {
    /// The literal text.
    pub line: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// What was found.
    pub meaning: String,
    /// What to do.
    pub action: String,
}

/// A third-party package in the program.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Software {
    /// Its name at the registry.
    pub name: String,
    /// The version that is built in.
    pub version: String,
    /// Whether it was modified.
    pub modified: bool,
    /// Its licence, as it states it.
    pub license: String,
}

/// The class of this program.
pub fn class() -> &'static Class {
    static CLASS: LazyLock<Class> = LazyLock::new(|| {
        // The text is part of the build and the first test parses it: this cannot fail in a tested
        // program.
        toml::from_str(TEXT).unwrap_or_else(|error| panic!("appliance/mta.toml: {error}"))
    });
    &CLASS
}

impl Class {
    /// The property of that name.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.property.iter().find(|property| property.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::failure::Exit;
    use crate::core::counters::counters;
    use std::collections::BTreeSet;

    #[test]
    fn the_class_is_complete_and_names_are_unique() {
        let class = class();
        let names: BTreeSet<_> =
            class.property.iter().map(|property| property.name.as_str()).collect();
        assert_eq!(names.len(), class.property.len());
        assert_eq!(
            class
                .property
                .iter()
                .filter(|property| property.group == PropertyGroup::Founding)
                .count(),
            13
        );
        const KINDS: [&str; 38] = [
            "mail addresses and domains",
            "capture/refuse",
            "rate",
            "old=new, addresses or @domains",
            "text",
            "yes/no",
            "plain/json",
            "none/smart/hash",
            "auto/required/implicit/opportunistic/none",
            "number",
            "port",
            "size",
            "duration",
            "host name",
            "header names",
            "host",
            "networks",
            "proxies",
            "address",
            "addresses",
            "mail address",
            "addresses with ports",
            "absolute path",
            "relative path",
            "share",
            "export",
            "URL",
            "hosts",
            "accounts",
            "webhooks",
            "events",
            "webhook secret",
            "DKIM domains",
            "domain=rate",
            "rates",
            "wait/send",
            "always/fallback",
            "time zone",
        ];
        for property in &class.property {
            assert!(KINDS.contains(&property.kind.as_str()), "{property:?}");
            assert!(
                !property.help.is_empty()
                    && !property.help.ends_with('.')
                    && !property.help.contains('|'),
                "{property:?}"
            );
        }
        let wires = class.terminal.iter().filter_map(|terminal| terminal.property.as_deref());
        for property in wires.chain(class.volume.iter().map(|volume| volume.property.as_str())) {
            assert!(names.contains(property), "{property}");
        }
    }

    #[test]
    fn errors_have_known_exit_codes_and_say_what_to_do() {
        for error in &class().error {
            assert!(error.line.starts_with("Error: ") && !error.exit.is_empty(), "{error:?}");
            assert!(
                error.exit.iter().all(|code| Exit::from_code((*code).into()).is_some()),
                "{error:?}"
            );
            assert!(!error.meaning.is_empty() && !error.action.is_empty(), "{error:?}");
        }
        let lines: BTreeSet<_> = class().error.iter().map(|error| &error.line).collect();
        assert_eq!(lines.len(), class().error.len());
    }

    #[test]
    fn the_version_of_the_class_is_that_of_the_program() {
        assert_eq!(class().class.version, env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn the_counters_of_the_class_are_the_counters_of_the_code() {
        // This one is registered by the HTTP server, which has access to the queue; all others
        // exist with the counters.
        let of_the_server = "mta_mqueue_age_seconds";
        let (counters, _http) = counters().unwrap();
        counters.accept.certificate_expires(1);
        let code: BTreeSet<_> = counters.families().into_iter().collect();
        let told: BTreeSet<_> = class()
            .counter
            .iter()
            .filter(|counter| counter.name != of_the_server)
            .map(|counter| (counter.name.clone(), counter.kind.clone(), counter.help.clone()))
            .collect();
        assert_eq!(code, told);
        assert!(
            class()
                .counter
                .iter()
                .any(|counter| counter.name == of_the_server && counter.kind == "histogram")
        );
    }
}
