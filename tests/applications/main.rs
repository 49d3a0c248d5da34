//! The examples in docs/applications.md for writers of web applications, block by block and
//! unchanged, in the real runtimes: Tomcat, Python, Django, PHP, Node. The relay is the real
//! program; the mail is expected at its next hop.
//!
//! Each runtime sees a hosts file of its own, in which `aux` is an address of this test, whose port
//! 25 leads to the relay. That needs root, for the port and for the mount (unshare(1)).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod aux;
mod page;
mod tls;
mod tomcat;

use aux::Shop;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::program::find;

const PHPMAILER: &str = "/usr/share/php/libphp-phpmailer/autoload.php";
const SYMFONY: &str = "/usr/share/php/Symfony/Component/Mailer/autoload.php";

#[test]
fn tomcat() {
    let shop = Shop::open();
    tomcat::run(&shop);
    shop.expect_order();
}

#[test]
fn python() {
    let shop = Shop::open();
    let script = shop.place("order.py");
    shop.run(Command::new("/usr/bin/python3").arg(script));
    shop.expect_order();
}

#[test]
fn django() {
    let shop = Shop::open();
    shop.place("settings.py");
    // Debian's, whatever other Python comes first on the PATH.
    let mut command = Command::new("/usr/bin/python3");
    command.arg(find("django-admin")).args([
        "sendtestemail",
        "--settings=settings",
        "customer@example.org",
    ]);
    shop.run(command.env("PYTHONPATH", shop.directory()));
    let mail = shop.mail();
    assert_eq!(mail.to, ["customer@example.org"]);
    assert!(mail.text().contains("Subject: Test email from "), "{}", mail.text());
}

#[test]
fn php_with_phpmailer() {
    php("order-phpmailer.php", PHPMAILER);
}

#[test]
fn php_with_symfony() {
    php("order-symfony.php", SYMFONY);
}

/// Debian has its own place for a library's loader; Composer's is the one that applications know.
fn php(name: &str, loader: &str) {
    let shop = Shop::open();
    let script = shop.place(name);
    shop.run(&with_library(&shop, loader, &script));
    shop.expect_order();
}

fn with_library(shop: &Shop, loader: &str, script: &Path) -> Command {
    shop.write("vendor/autoload.php", &format!("<?php require '{loader}';\n"));
    let mut command = Command::new(find("php"));
    command.arg(script);
    command
}

#[test]
fn php_with_its_own_mail_function() {
    let shop = Shop::open();
    let settings = shop.place("php.ini");
    let code = "exit(mail('customer@example.org', 'Your order', 'Thank you.', 'From: \
    shop@example.com') ? 0 : 1);";
    find("msmtp");
    shop.run(Command::new(find("php")).arg("-c").arg(settings).args(["-r", code]));
    shop.expect_order();
}

#[test]
fn node() {
    let shop = Shop::open();
    let script = shop.place("order.js");
    shop.run(&with_nodemailer(&script));
    shop.expect_order();
}

fn with_nodemailer(script: &Path) -> Command {
    let mut command = Command::new(find("node"));
    command.env("NODE_PATH", "/usr/share/nodejs").arg(script);
    command
}

#[test]
fn every_block_of_the_page_is_run() {
    let code = [include_str!("main.rs"), include_str!("tomcat.rs")].concat();
    let blocks = page::files();
    assert!(blocks.len() >= 8, "{blocks:?}");
    assert_eq!(
        blocks.iter().collect::<BTreeSet<_>>().len(),
        blocks.len(),
        "two blocks have one name"
    );
    for name in blocks {
        assert!(code.contains(&format!("\"{name}\"")), "no test runs {name}");
    }
}
