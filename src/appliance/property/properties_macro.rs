//! The macro for tables of properties. One line is one property:
//!
//! ```text
//! name: Type = reader;
//! ```
//!
//! The type determines whether a value is required (`Option<T>` and lists may be empty) and, by
//! [`Written`](super::to_text::Written), its text form and whether it is a secret. The reader
//! parses a text to the type, or gives an error. Default, secrecy and help are in
//! `appliance/mta.toml`; a test compares both.
//!
//! The record of a group, whose members each have a name, is a table too, and the table of all
//! properties has it under `groups`: with `upstream: Upstream;` the field `host` of `Upstream` is
//! the property `upstream_<name>_host`.
//!
//! The macro makes the record, `read` (from texts) and `write` (to texts).

/// Declares a record of properties.
macro_rules! properties {
    (
        $(#[$about:meta])*
        $visibility:vis struct $record:ident {
            $( $(#[$doc:meta])* $name:ident: $type:ty = $read:path; )*
        }
        $( groups { $( $(#[$group_doc:meta])* $group:ident: $member:ident; )* } )?
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $visibility struct $record {
            $(
                #[doc = concat!("Property `", stringify!($name), "`.\n")]
                $(#[$doc])*
                pub $name: $type,
            )*
            $($(
                $(#[$group_doc])*
                pub $group: std::collections::BTreeMap<String, $member>,
            )*)?
            /// The origin of each value.
            pub sources: $crate::appliance::property::value_source::Sources,
        }

        impl $record {
            /// The values of texts, or `None`: then the reader has the errors.
            pub(super) fn read(
                reader: &mut $crate::appliance::property::typed_reader::PropertyReader<'_>,
            ) -> Option<Self> {
                // All first, so that a wrong one does not hide others.
                $( let $name = reader.value(stringify!($name), $read); )*
                $($( let $group = reader.group(stringify!($group), $member::read); )*)?
                Some(Self {
                    $( $name: $name?, )*
                    $($( $group: $group?, )*)?
                    sources: reader.sources(),
                })
            }

            /// The texts of all values, secrets included.
            pub(super) fn write(&self) -> $crate::appliance::property::value_source::PropertyTexts {
                use $crate::appliance::property::{value_source::PropertyText, to_text::Written};
                let text = |name: &'static str, value: String| {
                    let source = self.sources.get(name).cloned().unwrap_or_default();
                    (name.to_owned(), PropertyText { value, source })
                };
                [$( text(stringify!($name), self.$name.to_text()) ),*]
                    .into_iter()
                    $($(
                        .chain(self.$group.iter().flat_map(|(member, record)| {
                            let prefix = format!(concat!(stringify!($group), "_{}_"), member);
                            let texts = record.write().into_iter();
                            texts.map(move |(name, text)| (format!("{prefix}{name}"), text))
                        }))
                    )*)?
                    .collect()
            }

            /// Names as in the class, and whether their values are secrets.
            #[cfg(test)]
            pub(super) fn fields() -> Vec<(String, bool)> {
                use $crate::appliance::property::to_text::Written;
                [$( (stringify!($name).to_owned(), <$type>::SECRET) ),*]
                    .into_iter()
                    $($(
                        .chain($member::fields().into_iter().map(|(name, secret)| {
                            (format!(concat!(stringify!($group), "_<name>_{}"), name), secret)
                        }))
                    )*)?
                    .collect()
            }
        }
    };
}

pub(super) use properties;

#[cfg(test)]
mod tests {
    use crate::appliance::class::Property;
    use crate::appliance::property::env_scan::find;
    use crate::appliance::property::name_lookup::PropertyNames;
    use crate::appliance::property::secret::{Secret, password};
    use crate::appliance::property::typed_reader::PropertyReader;
    use crate::appliance::property::value_source::ValueOrigin;
    use crate::appliance::property::{name, value};
    use crate::ground::host::HostSpec;
    use std::ffi::OsString;
    use std::path::PathBuf;

    properties! {
        /// A table with a group.
        struct Relay {
            hostname: String = name::host_name;
        }
        groups {
            /// Servers that mail goes to.
            upstream: Upstream;
        }
    }

    properties! {
        /// One of them.
        struct Upstream {
            host: HostSpec = name::host;
            port: u16 = value::port;
            password: Option<Secret> = password;
        }
    }

    #[derive(serde::Deserialize)]
    struct Manifest {
        property: Vec<Property>,
    }

    fn manifest() -> Vec<Property> {
        let entry = |name: &str, default: &str, secret: bool| {
            format!(
                "[[property]]\nname = \"{name}\"\ntype = \"text\"\ndefault = \"{default}\"\n\
                secret = {secret}\ngroup = \"container\"\nhelp = \"x\"\n"
            )
        };
        let text = [
            entry("hostname", "localhost", false),
            entry("upstream_<name>_host", "", false),
            entry("upstream_<name>_port", "25", false),
            entry("upstream_<name>_password", "", true),
        ];
        toml::from_str::<Manifest>(&text.concat()).unwrap().property
    }

    /// The result of an environment, with all errors and warnings.
    fn relay(vars: &[(&str, &str)]) -> (Option<Relay>, Vec<String>) {
        let manifest = manifest();
        let names = PropertyNames::of(&manifest);
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let mut found = find(vars, names);
        names.add_missing(&mut found.texts, |property| property.default.clone());
        let mut reader = PropertyReader::new(names, found.texts);
        let relay = Relay::read(&mut reader);
        let told = found.problems.into_iter().chain(reader.problems());
        (relay, told.map(|problem| problem.to_string()).chain(found.warnings).collect())
    }

    #[test]
    fn a_group_is_read_in_every_form_and_written_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let path = file.path().to_str().unwrap();
        let (read, told) = relay(&[
            ("MTA_UPSTREAM_BACKUP_HOST", "backup.example"),
            ("MTA_UPSTREAM_BACKUP_PASSWORD_FILE", path),
            ("MTA_UPSTREAM_M2_HOST", "[m2.example]"),
            ("MTA_UPSTREAM_M2_PORT", "2525"),
        ]);
        assert_eq!(told, [""; 0]);
        let relay = read.unwrap();
        assert_eq!(relay.upstream.keys().collect::<Vec<_>>(), ["backup", "m2"]);
        let (backup, m2) = (&relay.upstream["backup"], &relay.upstream["m2"]);
        assert_eq!((backup.host.to_string().as_str(), backup.port), ("backup.example", 25));
        assert_eq!(backup.password.as_ref().unwrap().expose(), "hunter2");
        assert_eq!((m2.host.to_string().as_str(), m2.port), ("[m2.example]", 2525));
        assert_eq!(m2.password, None);
        assert_eq!(backup.sources["password"], ValueOrigin::File(PathBuf::from(path)));
        assert_eq!(m2.sources["port"], ValueOrigin::Environment);
        assert_eq!(relay.sources["hostname"], ValueOrigin::Default);

        let texts = relay.write();
        assert_eq!(texts["upstream_backup_password"].value, "hunter2");
        assert_eq!(texts["upstream_m2_port"].source, ValueOrigin::Environment);
        let manifest = manifest();
        let mut reader = PropertyReader::new(PropertyNames::of(&manifest), texts);
        assert_eq!(Relay::read(&mut reader), Some(relay));
    }

    #[test]
    fn a_group_is_that_of_the_manifest() {
        let class = manifest().into_iter().map(|property| (property.name, property.secret));
        assert!(Relay::fields().into_iter().eq(class));
    }

    #[test]
    fn what_is_wrong_in_a_group_is_told_as_elsewhere() {
        for (vars, words) in [
            (
                &[("MTA_UPSTREAM_BACKUP_HSOT", "a.example")][..],
                "Error: there is no property MTA_UPSTREAM_BACKUP_HSOT\n  did you mean \
                MTA_UPSTREAM_BACKUP_HOST?",
            ),
            (
                &[("MTA_UPSTRAEM_BACKUP_PORT_FILE", "/x")],
                "did you mean MTA_UPSTREAM_BACKUP_PORT_FILE?",
            ),
            (&[("MTA_UPSTREAM_HOST", "a.example")], "did you mean MTA_UPSTREAM_<NAME>_HOST?"),
            (
                &[("MTA_UPSTREAM_BACK_UP_HOST", "a.example")],
                "Error: there is no property MTA_UPSTREAM_BACK_UP_HOST\n  a name in the middle has \
                letters and digits only: write MTA_UPSTREAM_BACKUP_HOST",
            ),
            (
                &[("MTA_UPSTREAM_BACKUP_PASSWORD", "hunter2")],
                "Error: upstream_backup_host has no value\n  set MTA_UPSTREAM_BACKUP_HOST",
            ),
            (
                &[("MTA_UPSTREAM_BACKUP_HOST", "a.example"), ("MTA_UPSTREAM_BACKUP_PORT", "0")],
                "Error: upstream_backup_port value must be between 1 and 65535\n  \
                MTA_UPSTREAM_BACKUP_PORT is '0'",
            ),
            (
                &[("MTA_UPSTREAM_BACKUP_HOST", "'a.example'")],
                "Error: MTA_UPSTREAM_BACKUP_HOST has quotes around its value",
            ),
            (
                &[("mta_upstream_backup_host", "a.example")],
                "mta_upstream_backup_host is ignored: properties are upper case, write \
                MTA_UPSTREAM_BACKUP_HOST",
            ),
            (
                &[("UPSTREAM_BACKUP_HOST", "a.example")],
                "UPSTREAM_BACKUP_HOST is ignored: the names of all properties begin with MTA_, \
                write MTA_UPSTREAM_BACKUP_HOST",
            ),
        ] {
            let (_, told) = relay(vars);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains(words), "{told:?}");
            assert!(!told[0].contains("hunter2"), "{told:?}");
        }
    }
}
