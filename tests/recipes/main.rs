//! The recipes for keys and certificates in docs/tls.md, unchanged and run with the real openssl.
//!
//! Each test runs the commands in an empty directory, in the order of the page, and asks openssl
//! about the result. Passphrases are passed in the way that the page gives for scripts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod examples;
mod guides;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use support::appliance::Appliance;
use support::program::open_directory;
use tempfile::TempDir;

const PASSPHRASE: &str = "a tide in the affairs of men";

/// The command block of docs/tls.md below the mark of that name.
fn recipe(name: &str) -> String {
    let page = page();
    let mark = format!("<!-- recipe: {name} -->\n```sh\n");
    let (_, rest) =
        page.split_once(&mark).unwrap_or_else(|| panic!("docs/tls.md has no recipe '{name}'"));
    let (block, _) = rest.split_once("```").expect("the block ends");
    assert!(block.starts_with("openssl "), "{block}");
    block.trim_end().to_owned()
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls.md")).unwrap()
}

/// An empty working directory without any configuration of the machine except openssl's.
struct QueueAdmin(TempDir);

impl QueueAdmin {
    fn new() -> Self {
        Self(open_directory())
    }

    /// Runs a recipe in a shell, with an addition at its end for what a person would type.
    fn make(&self, name: &str, addition: &str) -> &Self {
        let script = format!("{} {addition}", recipe(name));
        let output = self.shell(&script);
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
        self
    }

    /// The output of a command that must succeed.
    fn ask(&self, script: &str) -> String {
        let output = self.shell(script);
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }

    fn shell(&self, script: &str) -> Output {
        assert!(
            Path::new("/usr/bin/openssl").exists(),
            "install Debian's package openssl (scripts/install-peers.sh)"
        );
        let mut command = Command::new("/bin/sh");
        command
            .args(["-euc", script])
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        command.env("PASSPHRASE", PASSPHRASE).stdin(std::process::Stdio::null());
        command.output().unwrap()
    }

    /// The relay's uid must own the key: the page uses uid 2525, this test the uid here.
    fn give_to_the_relay(&self) -> &Self {
        if nix::unistd::geteuid().is_root() {
            self.ask(&format!("chown {} server.key", support::appliance::ORDINARY));
        }
        self.ask("chmod 400 server.key");
        self
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    /// The key opens without a passphrase, and its mode denies other users.
    fn has_a_free_key(&self) -> &Self {
        assert!(!self.read("server.key").contains("ENCRYPTED"));
        self.ask("openssl pkey -in server.key -noout -check");
        let mode = self.ask("stat -c %a server.key");
        assert_eq!(mode.trim(), "600", "openssl gives the key to its owner alone");
        self
    }

    /// The certificate belongs to the key, has the names of the page, and is valid now and for most
    /// of a year.
    fn has_a_certificate(&self) -> &Self {
        assert_eq!(
            self.ask("openssl pkey -in server.key -pubout"),
            self.ask("openssl x509 -in server.pem -noout -pubkey")
        );
        for name in ["mta.example.org", "aux"] {
            let said = self.ask(&format!("openssl x509 -in server.pem -noout -checkhost {name}"));
            assert!(said.contains("does match certificate"), "{said}");
        }
        let said = self.ask("openssl x509 -in server.pem -noout -checkhost other.example.org");
        assert!(said.contains("does NOT match certificate"), "{said}");
        self.ask("openssl x509 -in server.pem -noout -checkend 0");
        self.ask("openssl x509 -in server.pem -noout -checkend 31449600"); // 364 days
        self.ask("openssl verify -CAfile server.pem server.pem");
        self
    }
}

#[test]
fn a_private_key() {
    let admin = QueueAdmin::new();
    admin.make("key", "").has_a_free_key();
    let said = admin.ask("openssl pkey -in server.key -noout -text");
    assert!(said.contains("prime256v1"), "{said}");
}

#[test]
fn a_private_key_for_old_clients() {
    let admin = QueueAdmin::new();
    admin.make("rsa-key", "").has_a_free_key();
    let said = admin.ask("openssl pkey -in server.key -noout -text");
    assert!(said.contains("3072 bit"), "{said}");
}

#[test]
fn a_key_with_a_passphrase_and_its_removal() {
    let admin = QueueAdmin::new();
    admin.make("protected-key", "-pass env:PASSPHRASE");
    assert!(admin.read("protected.key").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let locked = admin.shell("openssl pkey -in protected.key -noout -passin pass:wrong");
    assert!(!locked.status.success(), "any passphrase opens it");
    admin.make("remove-passphrase", "-passin env:PASSPHRASE").has_a_free_key();
    let public = admin.ask("openssl pkey -in protected.key -passin env:PASSPHRASE -pubout");
    assert_eq!(public, admin.ask("openssl pkey -in server.key -pubout"), "it is another key");
    admin.make("self-signed", "").has_a_certificate();
}

#[test]
fn a_request_that_an_authority_signs() {
    for key in ["key", "rsa-key"] {
        let admin = QueueAdmin::new();
        admin.make(key, "").make("request", "");
        let said = admin.ask("openssl req -in server.csr -noout -verify -subject -text");
        assert!(said.contains("verify OK") && said.contains("CN = mta.example.org"), "{said}");
        assert!(said.contains("DNS:mta.example.org, DNS:aux"), "{said}");
        // An authority takes the request and issues a certificate that belongs to the key.
        admin.ask(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -subj /CN=Authority \
        -days 9 -out ca.pem",
        );
        admin.ask(
            "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -copy_extensions copy \
        -days 8 -out server.pem",
        );
        assert_eq!(
            admin.ask("openssl pkey -in server.key -pubout"),
            admin.ask("openssl x509 -in server.pem -noout -pubkey")
        );
        admin.ask("openssl verify -CAfile ca.pem -verify_hostname mta.example.org server.pem");
    }
}

#[test]
fn a_certificate_that_signs_itself() {
    for key in ["key", "rsa-key"] {
        let admin = QueueAdmin::new();
        admin.make(key, "").make("self-signed", "").has_a_certificate();
    }
}

#[test]
fn the_relay_serves_what_the_recipes_make() {
    for key in ["key", "rsa-key"] {
        let admin = QueueAdmin::new();
        admin.make(key, "").make("self-signed", "").give_to_the_relay();
        let volume = admin.0.path().display().to_string();
        let relay = Appliance::start(&[("MTA_SSL_DISABLED", "no"), ("MTA_VOLUME_KEY", &volume)]);
        for (address, how) in
            [(relay.smtp, "-starttls smtp -name client.example"), (relay.smtps, "")]
        {
            let trusted = format!(
                "s_client -connect {address} {how} -verify_return_error -verify_hostname \
                mta.example.org"
            );
            let said = admin.ask(&format!("openssl {trusted} -CAfile server.pem"));
            assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
            let stranger = admin.shell(&format!("openssl {trusted}"));
            assert!(!stranger.status.success(), "a client trusts it without being told to");
        }
    }
}

#[test]
fn every_recipe_of_the_page_is_run() {
    let page = page();
    let told: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("<!-- recipe: ")?.strip_suffix(" -->"))
        .collect();
    assert_eq!(
        told,
        ["key", "rsa-key", "protected-key", "remove-passphrase", "request", "self-signed"]
    );
}
