//! DKIM keys made by openssl as an operator would, and verifiers of other people: dkimpy, and
//! OpenDKIM.

use super::keys::{ED25519, RSA};
use super::program::{find, open_directory, run};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Mails that a verifier gets at once.
const BATCH: usize = 500;

/// A key volume with DKIM keys, and the records of their public halves.
pub struct DkimVolume {
    directory: TempDir,
}

/// A signature as dkimpy saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// `SELECTOR._domainkey.DOMAIN`.
    pub key: String,
    /// The algorithm.
    pub algorithm: String,
    /// The names of the fields.
    pub fields: String,
    /// Whether it holds, or why not.
    pub holds: Value,
}

impl DkimVolume {
    /// Without a key.
    pub fn new() -> Self {
        let volume = Self { directory: open_directory() };
        fs::create_dir(volume.root()).unwrap();
        fs::write(volume.records(), "").unwrap();
        volume
    }

    /// With an RSA and an Ed25519 key for a domain.
    pub fn with_keys(domain: &str) -> Self {
        let volume = Self::new();
        volume.make_rsa(domain, "postern");
        volume.make_ed25519(domain, "postern-ed25519");
        volume
    }

    /// The property `volume_key`.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    /// The path of a key file.
    pub fn key(&self, domain: &str, selector: &str) -> PathBuf {
        self.root().join("dkim").join(domain).join(format!("{selector}.pem"))
    }

    /// Makes an RSA key and its record.
    pub fn make_rsa(&self, domain: &str, selector: &str) {
        let der = self.make(domain, selector, RSA);
        self.publish(domain, selector, &format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(der)));
    }

    /// Makes an Ed25519 key and its record.
    pub fn make_ed25519(&self, domain: &str, selector: &str) {
        let der = self.make(domain, selector, ED25519);
        let key = STANDARD.encode(&der[der.len() - 32..]);
        self.publish(domain, selector, &format!("v=DKIM1; k=ed25519; p={key}"));
    }

    /// The public key as openssl tells it.
    fn make(&self, domain: &str, selector: &str, kind: &[&str]) -> Vec<u8> {
        let path = self.key(domain, selector);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_extension("new");
        run(Command::new(find("openssl")).arg("genpkey").args(kind).arg("-out").arg(&new));
        fs::set_permissions(&new, Permissions::from_mode(0o644)).unwrap();
        fs::rename(&new, &path).unwrap();
        let mut public = Command::new(find("openssl"));
        public.args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(path);
        run(&mut public).stdout
    }

    /// Adds a record.
    pub fn publish(&self, domain: &str, selector: &str, value: &str) {
        let before = fs::read_to_string(self.records()).unwrap();
        let name = format!("{selector}._domainkey.{domain}");
        fs::write(self.records(), format!("{before}{name} {value}\n")).unwrap();
    }

    fn records(&self) -> PathBuf {
        self.directory.path().join("records")
    }

    /// What dkimpy says about the signatures of mails, in the order of the mails.
    pub fn dkimpy(&self, mails: &[Vec<u8>]) -> Vec<Vec<Verified>> {
        let mut all = Vec::new();
        for batch in mails.chunks(BATCH) {
            let (_directory, paths) = stored(batch);
            // Debian's own, which has the modules.
            let mut command = Command::new("/usr/bin/python3");
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/verify_dkim.py"));
            let output = run(command.arg(self.records()).args(paths));
            for line in String::from_utf8(output.stdout).unwrap().lines() {
                let found: Value = serde_json::from_str(line).unwrap();
                all.push(found.as_array().unwrap().iter().map(verified).collect());
            }
        }
        assert_eq!(all.len(), mails.len());
        all
    }

    /// Asserts that OpenDKIM accepts each mail: it tells of one signature that holds.
    pub fn opendkim(&self, mails: &[Vec<u8>]) {
        for batch in mails.chunks(BATCH) {
            let (directory, paths) = stored(batch);
            let config = directory.path().join("conf");
            let records = self.records();
            let text = format!("Mode v\nTestPublicKeys {}\n", records.display());
            fs::write(&config, text).unwrap();
            let list: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            let mut command = Command::new(find("opendkim"));
            command.arg("-x").arg(&config).args(["-t", &list.join(",")]);
            let output = run(&mut command);
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            for path in &list {
                let of_it = |line: &&str| line.contains(path.as_str());
                let lines: Vec<&str> = said.lines().filter(of_it).collect();
                let holds = lines.iter().any(|line| line.contains("verification (s=postern"))
                    && lines.iter().any(|line| line.contains("succeeded"));
                assert!(
                    holds,
                    "{path}: {lines:?}\n{}",
                    String::from_utf8_lossy(&fs::read(path).unwrap())
                );
            }
        }
    }
}

fn verified(found: &Value) -> Verified {
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    Verified {
        key: format!("{}._domainkey.{}", text("s"), text("d")),
        algorithm: text("a"),
        fields: text("h").split_whitespace().collect(),
        holds: found["holds"].clone(),
    }
}

fn stored(mails: &[Vec<u8>]) -> (TempDir, Vec<PathBuf>) {
    let directory = open_directory();
    let paths = mails.iter().enumerate().map(|(place, mail)| {
        let path = directory.path().join(format!("{place}.eml"));
        fs::write(&path, mail).unwrap();
        path
    });
    let paths = paths.collect();
    (directory, paths)
}

/// The mails of a sink's maildir as they came over the wire, without the lines of the sink.
pub fn received(maildir: &Path) -> Vec<Vec<u8>> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let kept = fs::read(entry.unwrap().path()).unwrap();
        let mut rest = &kept[..];
        while rest.starts_with(b"Return-Path: ") || rest.starts_with(b"X-Original-To: ") {
            let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
            rest = &rest[end + 2..];
        }
        rest.to_vec()
    };
    fs::read_dir(maildir).unwrap().map(read).collect()
}
