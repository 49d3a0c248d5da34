//! A relay that announces TLS with an untrusted certificate: which applications refuse it, and what
//! helps.

use crate::aux::Shop;
use crate::page::changed;
use crate::support::program::find;
use crate::{PHPMAILER, SYMFONY, tomcat, with_library, with_nodemailer};
use std::process::Command;

#[test]
fn tomcat_does_not_ask_for_it() {
    let shop = Shop::open_with_tls();
    tomcat::run(&shop);
    shop.expect_order();
}

#[test]
fn python_does_not_ask_for_it() {
    let shop = Shop::open_with_tls();
    let script = shop.place("order.py");
    shop.run(Command::new("/usr/bin/python3").arg(script));
    shop.expect_order();
}

#[test]
fn msmtp_does_not_ask_for_it() {
    let shop = Shop::open_with_tls();
    let settings = shop.place("php.ini");
    let code = "exit(mail('customer@example.org', 'Your order', 'Thank you.', 'From: \
    shop@example.com') ? 0 : 1);";
    shop.run(Command::new(find("php")).arg("-c").arg(settings).args(["-r", code]));
    shop.expect_order();
}

#[test]
fn phpmailer_insists_until_it_is_told() {
    let shop = Shop::open_with_tls();
    let script = shop.place("order-phpmailer.php");
    shop.run_in_vain(&with_library(&shop, PHPMAILER, &script));
    let told = changed("order-phpmailer.php", "$mail->isSMTP();", "$mail->SMTPAutoTLS = false;");
    let told = told.replace("$mail->SMTPAutoTLS", "$mail->isSMTP();\n$mail->SMTPAutoTLS");
    let script = shop.write("told.php", &told);
    shop.run(&with_library(&shop, PHPMAILER, &script));
    shop.expect_order();
}

#[test]
fn symfony_insists_until_it_is_told() {
    let shop = Shop::open_with_tls();
    let script = shop.place("order-symfony.php");
    shop.run_in_vain(&with_library(&shop, SYMFONY, &script));
    let script = shop.write(
        "told.php",
        &changed("order-symfony.php", "smtp://aux:25", "smtp://aux:25?verify_peer=0"),
    );
    shop.run(&with_library(&shop, SYMFONY, &script));
    shop.expect_order();
}

#[test]
fn nodemailer_insists_until_it_is_told() {
    let shop = Shop::open_with_tls();
    let script = shop.place("order.js");
    shop.run_in_vain(&with_nodemailer(&script));
    let script = shop
        .write("told.js", &changed("order.js", "smtp://aux:25", "smtp://aux:25?ignoreTLS=true"));
    shop.run(&with_nodemailer(&script));
    shop.expect_order();
}
