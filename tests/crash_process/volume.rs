//! Data volumes that belong to the appliance's user, and a small one that can be filled.

use crate::appliance::ORDINARY;
use nix::unistd::geteuid;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Changes the owner of a directory to the appliance's user.
pub fn give_away(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(ORDINARY), Some(ORDINARY)).unwrap();
    }
}

/// A file system in a file, mounted.
pub struct SmallVolume {
    _dir: tempfile::TempDir,
    pub path: PathBuf,
}

impl SmallVolume {
    pub fn mount(octets: u64) -> Self {
        assert!(geteuid().is_root(), "only root can mount a small volume: run this test as root");
        let dir = tempfile::Builder::new().prefix("postern-volume-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let (image, path) = (dir.path().join("image"), dir.path().join("data"));
        File::create(&image).unwrap().set_len(octets).unwrap();
        fs::create_dir(&path).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&path));
        give_away(&path);
        Self { _dir: dir, path }
    }

    /// Another program takes all space, to the last block.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for size in [1 << 16, 1 << 12, 1 << 10, 1] {
            while file.write_all(&vec![1; size]).is_ok() && file.sync_data().is_ok() {}
        }
    }

    /// Takes or frees as much space as needed to leave so many thousandths of the volume free.
    pub fn leave(&self, thousandths: u64) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        let taken = file.metadata().unwrap().len();
        let wanted = (self.free() + taken).saturating_sub(self.size() * thousandths / 1000);
        if wanted < taken {
            file.set_len(wanted).unwrap();
        } else {
            let more = usize::try_from(wanted - taken).unwrap();
            file.write_all(&vec![1; more]).unwrap();
        }
        file.sync_all().unwrap();
    }

    pub fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    /// Octets that users can still write.
    pub fn free(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.path).unwrap();
        stat.blocks_available() * stat.fragment_size()
    }

    pub fn size(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.path).unwrap();
        stat.blocks() * stat.fragment_size()
    }

    fn filler(&self) -> PathBuf {
        self.path.join("somebody-elses")
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
