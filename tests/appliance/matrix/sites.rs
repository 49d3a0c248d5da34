//! What a row finds in its box: key pairs in every state, volumes that do not work, ports that are
//! taken.

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
    /// A key volume with a pair that fits, and then one thing that does not.
    Keys(Fault),
    /// A file at `{box}/file`.
    File,
    /// The data volume is a file system that is mounted read-only; takes root to prepare.
    ReadOnlyData,
    /// The same, and the appliance runs as root, who may give the volume to anybody.
    ReadOnlyDataOfRoot,
    /// The data volume belongs to somebody else.
    StrangersData,
    /// A device without a file system at `{box}/device`; the appliance runs as root.
    BlankDevice,
    /// A port of the box is taken.
    Taken(u16),
    /// The same, with a sound pair on the key volume.
    TakenWithKeys(u16),
    /// Another Postern has the run directory.
    ClaimedRunDir,
}

/// What is wrong with a key pair.
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

    /// Whether it can be seen without a mount, and is no other appliance, which may as well be the
    /// one that is asked about.
    pub fn is_foreseen(self) -> bool {
        !matches!(self, Self::ClaimedRunDir | Self::BlankDevice)
    }

    /// Prepares it; what comes back undoes it when it is dropped.
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
                // An ordinary user cannot give it away, and 0555 keeps the owner out as well.
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

/// Undoes by a command.
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
