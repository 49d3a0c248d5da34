//! What is mounted where, and whether this is a container.

use std::path::{Path, PathBuf};

/// Whether this path is on the root file system itself, and not on anything mounted into it.
pub fn is_on_root(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return true };
    let listed = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_of(&path, &listed).is_none_or(|point| point == Path::new("/"))
}

/// Whether a path is on a file system that was mounted without flushes of the disk's write cache.
pub fn ignores_flushes(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let listed = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_of(&path, &listed).is_some_and(|point| has_option(&point, &listed, "nobarrier"))
}

/// Whether a path is on an anonymous volume of a container engine: the image declares a volume
/// there and nothing was mounted. Docker and Podman name such volumes by 64 hexadecimal digits, and
/// mount their directory `_data`.
pub fn is_anonymous_volume(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let listed = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_of(&path, &listed).is_some_and(|point| is_anonymous(&point, &listed))
}

fn is_anonymous(point: &Path, listed: &str) -> bool {
    // Field 4: the mounted directory within its file system.
    let Some(root) = line_at(point, listed).and_then(|line| line.split(' ').nth(3)) else {
        return false;
    };
    let mut parts = root.rsplit('/');
    let (data, name, volumes) = (parts.next(), parts.next().unwrap_or_default(), parts.next());
    let hexadecimal = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    data == Some("_data") && hexadecimal && volumes == Some("volumes")
}

/// Whether the topmost mount at exactly this point has an option of its file system.
fn has_option(point: &Path, listed: &str, option: &str) -> bool {
    let options =
        line_at(point, listed).and_then(|line| line.split_once(" - ")?.1.split(' ').nth(2));
    options.is_some_and(|options| options.split(',').any(|found| found == option))
}

/// The mount point that contains a path; the root if it cannot be determined.
pub fn mount_point(path: &Path) -> PathBuf {
    let listed = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_of(path, &listed).unwrap_or_else(|| PathBuf::from("/"))
}

/// The type of the file system that contains a path.
pub fn kind(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let listed = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = mount_of(&path, &listed)?;
    let topmost = points(&listed).filter(|(found, _)| *found == point).last();
    topmost.map(|(_, kind)| kind.to_owned())
}

/// The source of the topmost mount at exactly this point.
pub fn mounted_at(point: &Path) -> Option<String> {
    let listed = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    source_at(point, &listed)
}

fn line_at<'l>(point: &Path, listed: &'l str) -> Option<&'l str> {
    listed.lines().rfind(|line| points(line).next().is_some_and(|(found, _)| found == point))
}

fn source_at(point: &Path, listed: &str) -> Option<String> {
    let (_, right) = line_at(point, listed)?.split_once(" - ")?;
    Some(unescaped(right.split(' ').nth(1)?).to_string_lossy().into_owned())
}

/// The mount point that is nearest above a path.
fn mount_of(path: &Path, listed: &str) -> Option<PathBuf> {
    points(listed)
        .map(|(point, _)| point)
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.components().count())
}

/// Whether this process runs in a container: PID 1, the marker file of an engine, or a layered root
/// file system.
pub fn in_container() -> bool {
    let layered = || {
        let listed = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        points(&listed).any(|(point, kind)| point == Path::new("/") && kind == "overlay")
    };
    std::process::id() == 1
        || Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || layered()
}

/// Mount points and file system types (proc_pid_mountinfo(5)): fields 5, and the first after the
/// lone hyphen.
fn points(text: &str) -> impl Iterator<Item = (PathBuf, &str)> {
    text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        Some((unescaped(left.split(' ').nth(4)?), right.split(' ').next()?))
    })
}

/// Blanks, tabs, line breaks and backslashes are written as a backslash and three octal digits.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\').then(|| text.get(at + 1..at + 4)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 4;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_without_a_name_are_known() {
        let line = |root: &str| {
            format!(
                "1 0 0:2 / / rw - overlay overlay rw\n2 1 8:1 {root} /data rw - ext4 /dev/sda1 rw\n"
            )
        };
        let is = |root: &str| is_anonymous(Path::new("/data"), &line(root));
        let name = "5f".repeat(32);
        assert!(is(&format!("/var/lib/docker/volumes/{name}/_data")));
        assert!(is(&format!("/volumes/{name}/_data")), "a file system of its own for the engine");
        for named in [
            "/var/lib/docker/volumes/mta-data/_data",
            "/srv/mail",
            "/",
            &format!("/srv/{name}"),
            &format!("/{name}/_data"),
        ] {
            assert!(!is(named), "{named}");
        }
    }

    #[test]
    fn mountinfo_is_read() {
        let text = "25 1 0:22 / / rw shared:1 - overlay overlay rw\n26 25 8:1 /x /with\\040blank \
        rw - ext4 /dev/sda1 rw,nobarrier\nbad\n";
        let read: Vec<_> = points(text).collect();
        assert_eq!(read, [(PathBuf::from("/"), "overlay"), (PathBuf::from("/with blank"), "ext4")]);
        assert_eq!(
            mount_of(Path::new("/with blank/data"), text),
            Some(PathBuf::from("/with blank"))
        );
        assert_eq!(mount_of(Path::new("/with/data"), text), Some(PathBuf::from("/")));
        assert_eq!(source_at(Path::new("/with blank"), text).as_deref(), Some("/dev/sda1"));
        assert_eq!(source_at(Path::new("/with"), text), None);
        assert!(has_option(Path::new("/with blank"), text, "nobarrier"));
        assert!(
            !has_option(Path::new("/with blank"), text, "barrier")
                && !has_option(Path::new("/"), text, "nobarrier")
        );
        assert_eq!(
            (kind(Path::new("/proc/self")).as_deref(), mount_point(Path::new("/proc/self/x"))),
            (Some("proc"), "/proc".into())
        );
        assert!(!is_on_root(Path::new("/proc/self")));
        assert!(is_on_root(Path::new("/")));
    }
}
