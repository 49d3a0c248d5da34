//! The environment of a row: key pairs in every state, volumes that do not work, ports that are in
//! use.

use crate::support::Grid;
use rcgen::{CertificateParams, KeyPair};
use std::any::Any;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

/// The state of a box before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Nothing is prepared.
    Plain,
    /// An empty key volume at `{box}/key`.
    NoKeys,
    /// A key volume with a valid pair, and one fault.
    Keys(Fault),
    /// A file at `{box}/file`.
    File,
    /// The data volume is a file system that is mounted read-only; takes root to prepare.
    ReadOnlyData,
    /// The same, and the appliance runs as root, who may change the volume's owner.
    ReadOnlyDataOfRoot,
    /// The data volume belongs to another user.
    StrangersData,
    /// A device without a file system at `{box}/device`; the appliance runs as root.
    BlankDevice,
    /// A port is in use.
    Taken(u16),
    /// The same, with a valid pair on the key volume.
    TakenWithKeys(u16),
    /// Another Postern uses the run directory.
    ClaimedRunDir,
}

/// The fault of a key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    KeyMissing,
    CertificateMissing,
    KeyEmpty,
    CertificateEmpty,
    KeyGarbage,
    CertificateGarbage,
    Passphrase,
    Mismatch,
    Expired,
    NotYetValid,
    Swapped,
    KeyIsDirectory,
    KeyUnreadable,
}

impl Site {
    /// Whether the appliance itself must run as root in this row.
    pub fn needs_root(self) -> bool {
        matches!(self, Self::BlankDevice | Self::ReadOnlyDataOfRoot)
    }

    /// Whether it can be detected without a mount, and is not another appliance, which may be the
    /// one that is checked.
    pub fn is_foreseen(self) -> bool {
        !matches!(self, Self::ClaimedRunDir | Self::BlankDevice)
    }

    /// Prepares it; dropping the result undoes it.
    pub fn prepare(self, grid: &Grid) -> Box<dyn Any> {
        match self {
            Self::Plain => {}
            Self::NoKeys => drop(grid.make_dir("key")),
            Self::Keys(fault) => keys(grid, fault),
            Self::File => drop(grid.make_file("file", "")),
            Self::ReadOnlyData | Self::ReadOnlyDataOfRoot => return Box::new(read_only(grid)),
            Self::StrangersData => {
                fs::remove_dir(grid.path("data")).unwrap();
                fs::create_dir(grid.path("data")).unwrap();
                fs::set_permissions(grid.path("data"), Permissions::from_mode(0o555)).unwrap();
                // An ordinary user cannot change the owner, and 0555 denies the owner as well.
                let _ = chown(grid.path("data"), Some(0), Some(0));
            }
            Self::BlankDevice => return Box::new(blank_device(grid)),
            Self::Taken(port) => return Box::new(TcpListener::bind((grid.address, port)).unwrap()),
            Self::TakenWithKeys(port) => {
                keys(grid, Fault::None);
                return Self::Taken(port).prepare(grid);
            }
            Self::ClaimedRunDir => {
                let other = grid.init(&[("MTA_SMTP_PORT", "12926"), ("MTA_UI_PORT", "12981")]);
                return Box::new(other);
            }
        }
        Box::new(())
    }
}

/// Undoes it by a command.
struct Undo(Vec<String>);

impl Drop for Undo {
    fn drop(&mut self) {
        let _ = Command::new(&self.0[0]).args(&self.0[1..]).status();
    }
}

fn read_only(grid: &Grid) -> Undo {
    let data = grid.path("data").display().to_string();
    run(&["mount", "-t", "tmpfs", "-o", "ro,size=1m,mode=0777", "none", &data]);
    Undo(["umount", "--lazy", &data].map(str::to_owned).into())
}

fn blank_device(grid: &Grid) -> Undo {
    let image = grid.path("image");
    File::create(&image).unwrap().set_len(4 << 20).unwrap();
    let device = run(&["losetup", "--find", "--show", &image.display().to_string()]);
    std::os::unix::fs::symlink(device.trim(), grid.path("device")).unwrap();
    Undo(["losetup", "--detach", device.trim()].map(str::to_owned).into())
}

fn keys(grid: &Grid, fault: Fault) {
    let directory = grid.make_dir("key");
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["mta.example.org".to_owned()]).unwrap();
    match fault {
        Fault::Expired => params.not_after = rcgen::date_time_ymd(2001, 2, 3),
        Fault::NotYetValid => params.not_before = rcgen::date_time_ymd(2100, 1, 1),
        _ => {}
    }
    let (mut private, mut chain) = (key.serialize_pem(), params.self_signed(&key).unwrap().pem());
    match fault {
        Fault::KeyEmpty => private.clear(),
        Fault::CertificateEmpty => chain.clear(),
        Fault::KeyGarbage => "k".clone_into(&mut private),
        Fault::CertificateGarbage => "c".clone_into(&mut chain),
        Fault::Mismatch => private = KeyPair::generate().unwrap().serialize_pem(),
        Fault::Swapped => std::mem::swap(&mut private, &mut chain),
        _ => {}
    }
    if fault == Fault::KeyIsDirectory {
        grid.make_dir("key/server.key");
    } else if fault != Fault::KeyMissing {
        let path = grid.make_file("key/server.key", &private);
        if fault == Fault::KeyUnreadable {
            fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        }
    }
    if fault != Fault::CertificateMissing {
        grid.make_file("key/server.pem", &chain);
    }
    if fault == Fault::Passphrase {
        let (free, locked) = (directory.join("server.key"), directory.join("locked.key"));
        let [free, locked] = [&free, &locked].map(|path| path.display().to_string());
        run(&[
            "openssl",
            "pkey",
            "-in",
            &free,
            "-aes256",
            "-passout",
            "pass:secret",
            "-out",
            &locked,
        ]);
        fs::set_permissions(&locked, Permissions::from_mode(0o644)).unwrap();
        fs::rename(locked, free).unwrap();
    }
}

fn run(words: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(words[0])
        .args(&words[1..])
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output();
    let output =
        output.unwrap_or_else(|error| panic!("{words:?}: {error}: run .ci/run prepare as root"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{words:?} (this test needs root): {}\n{stderr}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}
