//! Properties that are read again from their files while the appliance runs.
//!
//! In: the name of such a property, and the file that its variable names. Out: its text in
//! one form for equal values, or what is wrong with it. A file is read as at the start.

use super::account::users;
use super::env_scan::find;
use super::name_lookup::PropertyNames;
use super::settings::Settings;
use super::to_text::Written;
use super::value_source::ValueOrigin;
use crate::appliance::class::PREFIX;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file of such a property with the text that is in use, if it came from a file.
pub fn watched_file(settings: &Settings, name: &str) -> Option<(PathBuf, String)> {
    let Some(ValueOrigin::File(path)) = settings.sources.get(name) else { return None };
    let text = match name {
        "smtp_users" => settings.smtp_users.to_text(),
        _ => return None,
    };
    Some((path.clone(), text))
}

/// The text of a property in its file now.
///
/// # Errors
/// What is wrong, as text that contains no secret.
pub fn read_again(name: &str, path: &Path) -> Result<String, String> {
    let variable = format!("{PREFIX}{}_FILE", name.to_uppercase());
    let variables = std::iter::once((OsString::from(&variable), path.as_os_str().to_owned()));
    let found = find(variables, PropertyNames::of_class());
    if let Some(problem) = found.problems.first() {
        let line = problem.line.split_once(": ").map_or("", |(_, words)| words);
        return Err(format!("{line}: {}", problem.cause));
    }
    let text = found.texts.get(name).map_or("", |text| text.value.as_str());
    let read = match name {
        "smtp_users" => users(text).map(|all| all.to_text()),
        _ => Ok(text.to_owned()),
    };
    read.map_err(|words| format!("{variable}={}: it {words}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_at_the_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |content: &str| {
            std::fs::write(file.path(), content).unwrap();
            read_again("smtp_users", file.path())
        };
        let text = read("anna:{PLAIN}a;rate=5/h\n\n  ben:{PLAIN}b\n");
        assert_eq!(text.as_deref(), Ok("anna:{PLAIN}a;rate=5/1h ben:{PLAIN}b"));
        assert_eq!(read("anna:{PLAIN}a;rate=5/1h ben:{PLAIN}b"), text);
        for bad in ["", "anna:hunter2\n", "anna:{PLAIN}hunter2;x=y", "anna"] {
            let words = read(bad).unwrap_err();
            assert!(!words.contains("hunter2") && words.contains("SMTP_USERS"), "{words}");
        }
        let gone = read_again("smtp_users", Path::new("/nowhere/users"));
        assert!(gone.unwrap_err().contains("cannot be read"));
    }
}
