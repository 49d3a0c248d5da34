//! From environment variables to one text per property.
//!
//! Names that begin with `MTA_` belong to the appliance, so a name that no property has is a slip
//! of the pen and stops the start. Nothing here panics on what an environment may hold: variables
//! are read raw and checked for UTF-8.

use super::choice::LogFormat;
use super::clean::{Clean, clean};
use super::other_words;
use super::service_links::is_service_link;
use super::settings::{Settings, Texts};
use crate::appliance::class::{PREFIX, Property, class};
use crate::appliance::failure::{Exit, Failure};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Octets of one value: longer than any honest list of networks.
pub const VALUE_LIMIT: usize = 16 * 1024;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nothing was set.
    Default,
    /// The variable `MTA_<NAME>`.
    Environment,
    /// The file that `MTA_<NAME>_FILE` names.
    File(PathBuf),
}

/// What the defaults that are not constant depend on.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Who runs the program.
    pub uid: u32,
    /// Whether /key is a block device or a directory that holds something.
    pub key_volume: bool,
    /// Whether /run/postern can be used.
    pub writable_run: bool,
    /// `XDG_RUNTIME_DIR`, where it is set.
    pub runtime_dir: Option<PathBuf>,
}

const RUN_DIR: &str = "/run/postern";
const KEY_VOLUME: &str = "/key";

impl Machine {
    /// The one this process runs on.
    pub fn here() -> Self {
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            key_volume: is_key_volume(Path::new(KEY_VOLUME)),
            writable_run: is_writable(Path::new(RUN_DIR))
                || (!Path::new(RUN_DIR).exists() && is_writable(Path::new("/run"))),
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR")
                .map(PathBuf::from)
                .filter(|path| is_writable(path)),
        }
    }

    /// Where the control socket lives unless a property says so.
    fn run_dir(&self) -> String {
        match &self.runtime_dir {
            _ if self.writable_run => RUN_DIR.to_owned(),
            Some(dir) if dir.is_absolute() => dir.join("postern").display().to_string(),
            _ => format!("/tmp/postern-{}", self.uid),
        }
    }

    fn default_of(&self, property: &Property) -> String {
        match property.name.as_str() {
            "run_dir" => self.run_dir(),
            "volume_key" if self.key_volume => KEY_VOLUME.to_owned(),
            _ => property.default.clone(),
        }
    }
}

fn is_writable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
        .is_ok()
}

/// An empty directory is the place for a volume, not a volume.
fn is_key_volume(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    match path.metadata() {
        Ok(meta) if meta.is_dir() => {
            path.read_dir().is_ok_and(|mut entries| entries.next().is_some())
        }
        Ok(meta) => meta.file_type().is_block_device(),
        Err(_) => false,
    }
}

/// Properties that can be worked with.
#[derive(Debug)]
pub struct Loaded {
    /// Their values.
    pub settings: Settings,
    /// Where each came from.
    pub sources: BTreeMap<&'static str, Source>,
    /// What a person should know although it stops nothing.
    pub warnings: Vec<String>,
}

/// Properties that cannot be worked with, and as much of them as is needed to say so in the right
/// place.
#[derive(Debug)]
pub struct Refused {
    /// Everything that is wrong.
    pub problems: Vec<Failure>,
    /// The run directory, by property if that one is sound.
    pub run_dir: PathBuf,
    /// The form of log lines, by property if that one is sound.
    pub log_format: LogFormat,
}

/// Reads the properties of this process.
///
/// # Errors
/// Everything that is wrong with them, at once.
pub fn load() -> Result<Loaded, Refused> {
    read(std::env::vars_os(), &Machine::here())
}

/// Reads the properties of an environment.
///
/// # Errors
/// Everything that is wrong with them, at once.
pub fn read(
    vars: impl Iterator<Item = (OsString, OsString)>,
    machine: &Machine,
) -> Result<Loaded, Refused> {
    let mut finder = Finder::default();
    for (name, value) in vars {
        if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            finder.take(&name, value);
        } else {
            finder.pass(&name, &value);
        }
    }
    finder.tell_of_links();
    let Finder { mut problems, mut warnings, .. } = finder;
    let mut values = BTreeMap::new();
    let mut sources = BTreeMap::new();
    for property in &class().property {
        let (value, source) = match finder.found.remove(property.name.as_str()) {
            Some(found) => found,
            None => (machine.default_of(property), Source::Default),
        };
        values.insert(property.name.as_str(), value);
        sources.insert(property.name.as_str(), source);
    }
    let run_dir = PathBuf::from(
        values
            .get("run_dir")
            .filter(|path| path.starts_with('/'))
            .cloned()
            .unwrap_or(machine.run_dir()),
    );
    let log_format =
        values.get("log_format").and_then(|text| text.parse().ok()).unwrap_or(LogFormat::Plain);
    let settings = envy::from_iter::<_, Texts>(
        values.into_iter().map(|(name, value)| (name.to_owned(), value)),
    )
    .map_err(|error| vec![Failure::preconfigure(Exit::Internal, error.to_string())])
    .and_then(|texts| Settings::from_texts(texts, &sources));
    match settings {
        Ok(settings) if problems.is_empty() => {
            warnings.extend(settings.warnings());
            Ok(Loaded { warnings, settings, sources })
        }
        outcome => {
            problems.extend(outcome.err().into_iter().flatten());
            Err(Refused { problems, run_dir, log_format })
        }
    }
}

/// Sorts variables into values and problems.
#[derive(Default)]
struct Finder {
    found: BTreeMap<&'static str, (String, Source)>,
    problems: Vec<Failure>,
    warnings: Vec<String>,
    /// Variables that container engines make.
    links: Vec<String>,
}

impl Finder {
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
        // `ssl_key_file` is a property of its own, so the whole name is tried first.
        if let Some(property) = by_variable(name) {
            if !value.is_empty() {
                self.found(property, &value, Source::Environment);
            }
        } else if let Some(property) = name.strip_suffix("_FILE").and_then(by_variable) {
            if !value.is_empty() {
                self.take_file(property, Path::new(&value));
            }
        } else {
            self.unknown(&shown);
        }
    }

    fn take_file(&mut self, property: &'static Property, path: &Path) {
        match read_value(path) {
            // An empty password would open what was meant to be closed.
            Ok(text)
                if property.secret && text.trim_matches(['\u{feff}', '\r', '\n']).is_empty() =>
            {
                self.problem(
                    format!("Error: the file for {} is empty", property.name),
                    format!(
                        "{}_FILE={}: write the value into it",
                        property.variable(),
                        path.display()
                    ),
                )
            }
            Ok(text) => self.found(property, &text, Source::File(path.to_owned())),
            Err(cause) => self.problem(
                format!("Error: the file for {} cannot be read", property.name),
                format!("{}_FILE={}: {cause}", property.variable(), path.display()),
            ),
        }
    }

    fn found(&mut self, property: &'static Property, text: &str, source: Source) {
        let variable = property.variable();
        // A file is named as such: its variable holds nothing but a path.
        let place = match &source {
            Source::File(path) => format!("{variable}_FILE={}: ", path.display()),
            Source::Environment | Source::Default => String::new(),
        };
        if text.len() > VALUE_LIMIT {
            return self.problem(
                format!("Error: {variable} is too long"),
                format!("{place}at most {VALUE_LIMIT} octets"),
            );
        }
        match clean(property, &source, text) {
            Err(dirty) => self.problem(
                format!("Error: {variable} {}", dirty.what),
                format!("{place}{}", dirty.advice),
            ),
            Ok(_) if self.found.contains_key(property.name.as_str()) => {
                self.problem(
                    format!("Error: both {variable} and {variable}_FILE are set"),
                    "use one of them",
                );
            }
            Ok(Clean { value, warning }) => {
                self.warnings.extend(warning);
                if !value.is_empty() {
                    self.found.insert(&property.name, (value, source));
                }
            }
        }
    }

    /// A variable that is not ours; one that only has the wrong case, or lost its prefix, is worth
    /// a word.
    fn pass(&mut self, variable: &OsStr, value: &OsStr) {
        let shown = variable.to_string_lossy();
        if value.is_empty() {
            return;
        }
        self.warnings.extend(other_words::without_prefix(&shown));
        let upper = shown.to_ascii_uppercase();
        let name = upper.strip_prefix(PREFIX).unwrap_or_default();
        if by_variable(name).or_else(|| name.strip_suffix("_FILE").and_then(by_variable)).is_some()
        {
            self.warnings
                .push(format!("{shown} is ignored: properties are upper case, write {upper}"));
        }
    }

    /// One line for all service links.
    fn tell_of_links(&mut self) {
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
        let advice = variable.strip_prefix(PREFIX).and_then(other_words::advice);
        let advice = advice.or_else(|| Some(format!("did you mean {}?", nearest(variable)?)));
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

/// The property of a variable's name without `MTA_`; upper case only, as it is documented.
pub(super) fn by_variable(name: &str) -> Option<&'static Property> {
    class().property.iter().find(|property| property.name.to_uppercase() == name)
}

fn read_value(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(VALUE_LIMIT as u64 + 2).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is not UTF-8 text but UTF-16: save it as UTF-8".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// The variable that was most likely meant.
fn nearest(variable: &str) -> Option<String> {
    let upper = variable.to_uppercase();
    let names = class()
        .property
        .iter()
        .flat_map(|property| [property.variable(), format!("{}_FILE", property.variable())]);
    names
        .map(|name| (strsim::damerau_levenshtein(&upper, &name), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= (variable.len() / 4).max(2))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::ffi::OsStringExt;

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
        assert_eq!(loaded.settings.password.unwrap().expose(), "s3cret ");
        assert_eq!(loaded.settings.hostname, "localhost.localdomain");
        assert_eq!(loaded.sources["password"], Source::File(file.path().to_owned()));
        assert_eq!(loaded.sources["hostname"], Source::Default);
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
            told[0].contains("does not log in")
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
                && told[1].ends_with("write MTA_SMART_RELAY"),
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
