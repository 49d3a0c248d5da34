//! Makes [`Settings`] of an environment: variables, the defaults of the class and of the machine,
//! and types.

use super::choice::LogFormat;
use super::env_scan::{FoundProperties, find};
use super::machine::Machine;
use super::name_lookup::{self, FILE, PropertyNames};
use super::settings::Settings;
use crate::appliance::failure::Failure;
use std::ffi::OsString;
use std::path::PathBuf;

/// Valid properties.
#[derive(Debug)]
pub struct LoadedProperties {
    /// Their values, with their origins.
    pub settings: Settings,
    /// Warnings that do not stop the start.
    pub warnings: Vec<String>,
    /// What became of the variables of another image.
    pub notes: Vec<String>,
}

/// Invalid properties, with what is needed to report that in the right place.
#[derive(Debug)]
pub struct InvalidProperties {
    /// Everything that is wrong.
    pub problems: Vec<Failure>,
    /// The run directory, from the property if that one is valid.
    pub run_dir: PathBuf,
    /// The format of log lines, from the property if that one is valid.
    pub log_format: LogFormat,
}

/// Reads the properties of this process.
///
/// # Errors
/// Everything that is wrong with them, at once.
pub fn load() -> Result<LoadedProperties, InvalidProperties> {
    read(std::env::vars_os(), &Machine::here())
}

/// Reads these properties of the process's environment; all others have their defaults.
///
/// # Errors
/// Everything that is wrong with them, at once.
pub fn load_some(names: &[&str]) -> Result<LoadedProperties, InvalidProperties> {
    let is_one = |variable: &OsString| {
        let variable = variable.to_string_lossy();
        let variable = variable.strip_suffix(FILE).unwrap_or(&variable);
        names.iter().any(|name| name_lookup::variable(name) == variable)
    };
    read(std::env::vars_os().filter(|(variable, _)| is_one(variable)), &Machine::here())
}

/// Reads the properties of an environment.
///
/// # Errors
/// Everything that is wrong with them, at once.
pub fn read(
    vars: impl Iterator<Item = (OsString, OsString)>,
    machine: &Machine,
) -> Result<LoadedProperties, InvalidProperties> {
    let FoundProperties { mut texts, mut problems, mut warnings, notes } =
        find(vars, PropertyNames::of_class());
    PropertyNames::of_class().add_missing(&mut texts, |property| machine.default_of(property));
    let value = |name: &str| texts.get(name).map(|text| text.value.as_str());
    let run_dir = value("run_dir").filter(|path| path.starts_with('/')).map(PathBuf::from);
    let run_dir = run_dir.unwrap_or_else(|| machine.run_dir().into());
    let log_format = value("log_format").and_then(|text| text.parse().ok());
    match Settings::from_texts(texts) {
        Ok(settings) if problems.is_empty() => {
            warnings.extend(settings.warnings());
            Ok(LoadedProperties { warnings, notes, settings })
        }
        outcome => {
            problems.extend(outcome.err().into_iter().flatten());
            let log_format = log_format.unwrap_or(LogFormat::Plain);
            Err(InvalidProperties { problems, run_dir, log_format })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::value_source::ValueOrigin;
    use super::*;
    use std::io::Write;
    use std::os::unix::ffi::OsStringExt;
    use std::path::Path;

    fn machine() -> Machine {
        Machine { uid: 1000, key_volume: false, writable_run: false, runtime_dir: None }
    }

    fn problems(vars: &[(&str, &str)]) -> Vec<String> {
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let refused = read(vars, &machine()).unwrap_err();
        refused.problems.iter().map(ToString::to_string).collect()
    }

    fn value_file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_file_gives_a_value_without_its_last_line_break() {
        let file = value_file(b"s3cret \n");
        let path = file.path().to_str().unwrap();
        let vars = [
            ("MTA_PASSWORD_FILE", path),
            ("MTA_HOSTNAME", ""),
            ("PATH", "/bin"),
            ("MTA_CC_MTA_FILE", ""),
        ];
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let loaded = read(vars, &machine()).unwrap();
        assert_eq!(loaded.settings.password.as_ref().unwrap().expose(), "s3cret ");
        assert_eq!(loaded.settings.hostname, "localhost.localdomain");
        assert_eq!(loaded.settings.sources["password"], ValueOrigin::File(file.path().to_owned()));
        assert_eq!(loaded.settings.sources["hostname"], ValueOrigin::Default);
        assert_eq!(loaded.settings.run_dir, Path::new("/tmp/postern-1000"));
    }

    #[test]
    fn the_property_ssl_key_file_is_not_the_file_of_ssl_key() {
        let vars = [(OsString::from("MTA_SSL_KEY_FILE"), OsString::from("tls/relay.key"))];
        let loaded = read(vars.into_iter(), &machine()).unwrap();
        assert_eq!(loaded.settings.ssl_key_file.as_deref(), Some("tls/relay.key"));
    }

    #[test]
    fn files_that_give_no_value_are_reported() {
        let file = value_file(b"a\nb\n");
        let path = file.path().to_str().unwrap();
        let told = problems(&[
            ("MTA_PASSWORD", "x"),
            ("MTA_PASSWORD_FILE", path),
            ("MTA_USERNAME_FILE", "/nowhere/to/be"),
        ]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("control characters"), "{told:?}");
        assert!(told[1].contains("/nowhere/to/be") && told[1].contains("No such file"), "{told:?}");
        let binary = value_file(&[0xff, 0xfe]);
        assert!(
            problems(&[("MTA_HOSTNAME_FILE", binary.path().to_str().unwrap())])[0]
                .contains("not UTF-8")
        );
    }

    #[test]
    fn both_ways_at_once_are_one_too_many() {
        let file = value_file(b"secret");
        let told = problems(&[
            ("MTA_PASSWORD", "other"),
            ("MTA_PASSWORD_FILE", file.path().to_str().unwrap()),
        ]);
        assert_eq!(
            told,
            ["Error: both MTA_PASSWORD and MTA_PASSWORD_FILE are set\n  use one of them"]
        );
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        let told = problems(&[
            ("MTA_HOSTNME", "a"),
            ("MTA_SMART_RELAY_HOST", ""),
            ("MTA_XYZZY", "1"),
            ("MTA_PORT", "25"),
        ]);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].contains("did you mean MTA_HOSTNAME?"), "{told:?}");
        assert!(told[2].contains("MTA_XYZZY") && !told[2].contains("did you mean"), "{told:?}");
        assert!(
            told[3].contains("MTA_PORT") && told[3].contains("did you mean MTA_SMTP_PORT?"),
            "{told:?}"
        );
        let told = problems(&[("MTA_RELAYHOST_PASSWORD", "x"), ("MTA_LOG_LEVEL", "debug")]);
        assert!(
            told[0].contains("MTA_SMART_RELAY_USERNAME")
                && told[1].contains("no levels of logging; MTA_LOG_FORMAT"),
            "{told:?}"
        );
    }

    #[test]
    fn a_forgotten_prefix_is_not_ignored_in_silence() {
        let vars = [
            ("SMART_RELAY", "a.example"),
            ("RELAYHOST", "b.example"),
            ("MYNETWORKS", ""),
            ("HOSTNAME", "c"),
        ];
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let told = read(vars, &machine()).unwrap().warnings;
        let told: Vec<_> = told.iter().filter(|warning| warning.contains("is ignored")).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("SMART_RELAY is ignored")
                && told[1].contains("write MTA_SMART_RELAY, or set"),
            "{told:?}"
        );
    }

    #[test]
    fn service_links_are_ignored_and_told_once() {
        let vars = [
            ("MTA_PORT", "tcp://10.43.0.7:25"),
            ("MTA_SERVICE_HOST", "10.43.0.7"),
            ("MTA_SMTP_PORT", "tcp://10.43.0.8:25"),
            ("MTA_HOSTNAME", "a.example"),
        ];
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let loaded = read(vars, &machine()).unwrap();
        assert_eq!(loaded.settings.smtp_port, 25);
        let told: Vec<_> =
            loaded.warnings.iter().filter(|warning| warning.contains("service")).collect();
        assert_eq!(told.len(), 1, "{:?}", loaded.warnings);
        assert!(told[0].starts_with("MTA_PORT and 2 more are ignored"), "{told:?}");
    }

    #[test]
    fn names_in_lower_case_are_not_ignored_in_silence() {
        let vars = [("mta_hostname", "a.example"), ("Mta_Password_File", "/x"), ("mta_else", "1")];
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let told = read(vars, &machine()).unwrap().warnings;
        let told: Vec<_> = told.iter().filter(|warning| warning.contains("upper case")).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].ends_with("write MTA_HOSTNAME") && told[1].ends_with("write MTA_PASSWORD_FILE"),
            "{told:?}"
        );
    }

    #[test]
    fn files_from_windows_are_read() {
        let file = value_file(b"\xef\xbb\xbfrelay.example\r\n");
        let vars = [(OsString::from("MTA_HOSTNAME_FILE"), OsString::from(file.path()))];
        assert_eq!(read(vars.into_iter(), &machine()).unwrap().settings.hostname, "relay.example");
        let utf16 = value_file(b"\xff\xfea\0");
        assert!(
            problems(&[("MTA_HOSTNAME_FILE", utf16.path().to_str().unwrap())])[0]
                .contains("save it as UTF-8")
        );
        let quoted = value_file(b"\"relay.example\"\n");
        let told = problems(&[("MTA_HOSTNAME_FILE", quoted.path().to_str().unwrap())]);
        assert!(
            told[0].starts_with(
                "Error: MTA_HOSTNAME has quotes around its value\n  MTA_HOSTNAME_FILE="
            ),
            "{told:?}"
        );
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let told = problems(&[
            ("MTA_UI_PORT", "70000"),
            ("MTA_HOSTNAME", "\"a.example\""),
            ("MTA_QUEUE_LIFETIME", "5"),
        ]);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().any(|line| line.contains("remove the quotes")));
        assert!(told.iter().any(|line| line.starts_with(
            "Error: ui_port value must be between 1 and 65535\n  MTA_UI_PORT is '70000'"
        )));
    }

    #[test]
    fn a_variable_that_is_not_utf8_is_named() {
        let vars = [(OsString::from("MTA_HOSTNAME"), OsString::from_vec(vec![b'a', 0xff]))];
        let refused = read(vars.into_iter(), &machine()).unwrap_err();
        assert_eq!(refused.problems[0].line, "Error: MTA_HOSTNAME is not UTF-8 text");
        let vars = [(OsString::from_vec(b"MTA_\xff".to_vec()), OsString::from("x"))];
        assert!(read(vars.into_iter(), &machine()).is_err());
    }

    #[test]
    fn defaults_follow_the_machine() {
        let loaded = |machine: Machine| read(std::iter::empty(), &machine).unwrap().settings;
        let root =
            loaded(Machine { uid: 0, key_volume: true, writable_run: true, runtime_dir: None });
        assert_eq!(root.run_dir, Path::new("/run/postern"));
        assert_eq!(root.volume_key.as_deref(), Some(Path::new("/key")));
        let user = loaded(Machine { runtime_dir: Some("/run/user/1000".into()), ..machine() });
        assert_eq!(user.run_dir, Path::new("/run/user/1000/postern"));
        assert_eq!(user.volume_key, None);
    }
}
