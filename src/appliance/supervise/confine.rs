//! Landlock: the core gives up access to every file that it does not need.
//!
//! Read only: files of the resolver, the time zones and the process itself. Read and write: the
//! data volume and the run directory. Nothing else, and it cannot be undone. Best effort: without
//! Landlock in the kernel only the uid confines the core. To be called before the runtime starts
//! its threads: it applies to the calling thread and those it starts later. Source: landlock(7).

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use std::path::Path;

/// The Landlock version used; older kernels enforce the part that they support.
const KNOWN: ABI = ABI::V6;

/// Files of the resolver (which may be links into /run), time zones, certificates, and the
/// process's own entries in /proc.
const READ: [&str; 10] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/proc",
    "/dev",
    "/sys",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
];

/// Confines the calling thread and all its future threads; gives the level reached, as text for the
/// log. `sockets`: below this directory only sockets may be created.
pub fn confine(data: &Path, run_dir: &Path, sockets: Option<&Path>) -> String {
    match restrict(data, run_dir, sockets) {
        Ok(Some(status)) => words(&status),
        Ok(None) => "Landlock: not used, because the data volume cannot be opened".to_owned(),
        Err(error) => {
            format!("Landlock: not used ({error}); the core is confined by its uid alone")
        }
    }
}

fn restrict(
    data: &Path,
    run_dir: &Path,
    sockets: Option<&Path>,
) -> Result<Option<RestrictionStatus>, RulesetError> {
    // Without it the core could not work: no confinement is better than one without access to its
    // own volume.
    let Ok(data) = PathFd::new(data) else { return Ok(None) };
    let everything = AccessFs::from_all(KNOWN);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut ruleset =
        Ruleset::default().handle_access(everything)?.scope(Scope::from_all(KNOWN))?.create()?;
    ruleset = ruleset.add_rule(PathBeneath::new(data, everything))?;
    // It may not be a directory of this appliance; the control socket can be created once that is
    // repaired.
    if run_dir.is_dir()
        && let Ok(run_dir) = PathFd::new(run_dir)
    {
        ruleset = ruleset.add_rule(PathBeneath::new(run_dir, everything))?;
    }
    if let Some(sockets) = sockets.and_then(|path| PathFd::new(path).ok()) {
        ruleset = ruleset.add_rule(PathBeneath::new(sockets, AccessFs::MakeSock))?;
    }
    for path in READ {
        ruleset = allow(ruleset, path, read)?;
    }
    ruleset = allow(ruleset, "/dev/null", AccessFs::ReadFile | AccessFs::WriteFile)?;
    ruleset.restrict_self().map(Some)
}

/// A path that does not exist here needs no rule.
fn allow(
    ruleset: RulesetCreated,
    path: &str,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => ruleset.add_rule(PathBeneath::new(fd, access)),
        Err(_) => Ok(ruleset),
    }
}

fn words(status: &RestrictionStatus) -> String {
    let reach = match status.ruleset {
        RulesetStatus::FullyEnforced => "enforced in full",
        RulesetStatus::PartiallyEnforced => "enforced as far as this kernel can",
        RulesetStatus::NotEnforced => "not enforced",
    };
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            format!("Landlock: {reach} (version {})", effective_abi as i32)
        }
        LandlockStatus::NotEnabled => {
            "Landlock: not enabled in this kernel; the core is confined by its uid alone".to_owned()
        }
        LandlockStatus::NotImplemented => {
            "Landlock: not part of this kernel; the core is confined by its uid alone".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_volume_stays_writable_and_others_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let (data, run) = (dir.path().join("data"), dir.path().join("run"));
        std::fs::create_dir(&data).unwrap();
        std::fs::create_dir(&run).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        // A thread of its own: the confinement cannot be undone, and it ends with the thread.
        let (told, outside) = std::thread::spawn({
            move || {
                let told = confine(&data, &run, None);
                std::fs::write(data.join("a"), "x").unwrap();
                std::fs::rename(data.join("a"), data.join("b")).unwrap();
                std::fs::write(run.join("a"), "x").unwrap();
                std::fs::write("/dev/null", "x").unwrap();
                std::fs::read("/etc/hosts").unwrap();
                std::fs::read("/proc/self/status").unwrap();
                (told, std::fs::write(elsewhere, "x").is_ok())
            }
        })
        .join()
        .unwrap();
        assert_eq!(
            outside,
            !told.contains("enforced in full") && !told.contains("as far as"),
            "{told}"
        );
    }

    #[test]
    fn a_missing_data_volume_leaves_the_core_free() {
        let told = std::thread::spawn(|| {
            confine(Path::new("/nowhere/data"), Path::new("/nowhere/run"), None)
        })
        .join()
        .unwrap();
        assert!(told.contains("not used"), "{told}");
    }
}
