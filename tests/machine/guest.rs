//! A virtual machine: booted with the files of a test, read through its serial console, killed when
//! dropped.
//!
//! Needs what `scripts/machine.sh` makes (as root: `.ci/run prepare` installs its tools) and
//! qemu-system-x86_64; says so and fails when one is missing. Without KVM the processor is
//! emulated, which takes five seconds to boot.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Megabytes of the guest.
const MEMORY: u32 = 1536;
/// No line at all for so long means that the guest is stuck.
const SILENCE: Duration = Duration::from_secs(240);

/// Kernel, initrd and root disk, as they come from `scripts/machine.sh`.
pub struct Machine {
    dir: PathBuf,
}

impl Machine {
    /// Creates it unless it exists.
    pub fn made() -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(ROOT).join("target"), PathBuf::from);
        let dir = target.join("machine");
        let made = Command::new("scripts/machine.sh").arg(&dir).current_dir(ROOT).output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
        assert!(made.status.success(), "scripts/machine.sh failed: {said}");
        eprint!("{said}");
        Self { dir }
    }

    /// Boots it. `luggage` becomes /machine in the guest, where `init` is run. Changes of the root
    /// disk are lost.
    pub fn boot(&self, luggage: &Path, fittings: &Fittings) -> Guest {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("luggage.tar");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(luggage)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status()
            .unwrap();
        assert!(packed.success(), "tar failed");
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-accel",
            "tcg",
            "-smp",
            "2",
            "-m",
            &MEMORY.to_string(),
            "-nographic",
            "-no-reboot",
        ]);
        qemu.args(["-nic", fittings.network.as_deref().unwrap_or("none")]);
        qemu.arg("-kernel")
            .arg(self.dir.join("kernel"))
            .arg("-initrd")
            .arg(self.dir.join("initrd"));
        qemu.args(["-append", "console=ttyS0 panic=1 quiet"]);
        let drive = |path: &Path, options: &str| {
            format!("file={},if=virtio,format=raw,{options}", path.display())
        };
        qemu.arg("-drive").arg(drive(&self.dir.join("root.img"), "snapshot=on,cache=unsafe"));
        qemu.arg("-drive").arg(drive(&archive, "readonly=on"));
        for disk in &fittings.disks {
            qemu.arg("-drive").arg(disk);
        }
        let qemu = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut qemu = qemu.unwrap_or_else(|error| {
            panic!("qemu-system-x86_64: {error}; apt-get install qemu-system-x86")
        });
        let console = qemu.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // The firmware writes octets that are not text.
            let lines = BufReader::new(console).split(b'\n').map_while(Result::ok);
            let texts = lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned());
            texts.take_while(|line| sender.send(line.clone()).is_ok()).count()
        });
        Guest { qemu, lines, seen: Vec::new(), booted: Instant::now(), _dir: dir }
    }
}

/// The devices of a machine in addition to its root disk, as options of qemu.
#[derive(Debug, Default)]
pub struct Fittings {
    /// /dev/vdc and so on: `-drive`.
    pub disks: Vec<String>,
    /// Its network: `-nic`.
    pub network: Option<String>,
}

/// A machine that runs.
pub struct Guest {
    qemu: Child,
    lines: Receiver<String>,
    /// Everything on its console so far.
    pub seen: Vec<String>,
    pub booted: Instant,
    _dir: tempfile::TempDir,
}

impl Guest {
    /// The next line of its console; `None` when the machine is off.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(SILENCE) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("the guest says nothing for {SILENCE:?}; so far:\n{}", self.seen.join("\n"))
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The files for the machine: the program under test, and files of the test.
pub fn luggage(files: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(files, dir.path());
    fs::copy(env!("CARGO_BIN_EXE_postern"), dir.path().join("postern")).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
