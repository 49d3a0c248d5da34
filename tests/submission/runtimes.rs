//! Programs of the usual runtimes log in: gsasl, PHPMailer, Jakarta Mail, Nodemailer. Each with
//! every mechanism that it has, the certificate verified, and with a wrong password.

use crate::support::program::find;
use crate::{Submission, USERS};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const RIGHT: &str = "s3cret-of-anna";

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The path of a file of a Debian package.
fn file(path: &str, package: &str) -> String {
    let words = format!("{path} is missing (package {package}): run scripts/install-peers.sh");
    assert!(Path::new(path).exists(), "{words}");
    path.to_owned()
}

fn gsasl(relay: &Submission, mechanism: &str, password: &str) -> Output {
    let mut command = Command::new(find("gsasl"));
    command.args(["--smtp", "--connect", &relay.submission.to_string(), "--starttls"]);
    command.arg("--x509-ca-file").arg(relay.authority.root());
    command.args(["--hostname", "mail.example", "--mechanism", mechanism, "--no-cb"]);
    command.args(["--authentication-id", "anna", "--authorization-id", ""]);
    command.args(["--password", password]);
    command.stdin(Stdio::null()).output().unwrap()
}

/// It verifies the relay's signature of SCRAM.
#[test]
fn gsasl_by_scram_cram_md5_and_plain() {
    let relay = Submission::start(USERS, &[]);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"] {
        let done = gsasl(&relay, mechanism, RIGHT);
        let line = format!("mechanism={mechanism}");
        let has_logged_in = relay.has_logged(&["login", "user=anna", &line, "status=ok"]);
        assert!(has_logged_in, "{mechanism}: {}", text(&done));
        let refused = gsasl(&relay, mechanism, "wrong");
        assert!(!refused.status.success(), "{mechanism}: {}", text(&refused));
    }
    assert_eq!(relay.appliance.counter("mta_logins_total{result=\"ok\"}"), 5);
    assert_eq!(relay.appliance.counter("mta_logins_total{result=\"failed\"}"), 5);
}

/// Runs a program of a runtime that is given as text, with what it needs as arguments.
fn run(relay: &Submission, mut command: Command, mechanism: &str, password: &str) -> Output {
    command.args(["127.0.0.1", &relay.submission.port().to_string()]);
    command.arg(relay.authority.root()).args([mechanism, password]);
    command.output().unwrap()
}

/// Every mechanism sends a mail, and a wrong password is told.
fn each(command: impl Fn(&Submission) -> Command, mechanisms: &[&str]) {
    let relay = Submission::start(USERS, &[]);
    for mechanism in mechanisms {
        let sent = run(&relay, command(&relay), mechanism, RIGHT);
        assert!(sent.status.success(), "{mechanism}: {}", text(&sent));
        let line = format!("mechanism={mechanism}");
        assert!(relay.has_logged(&["login", "user=anna", &line, "status=ok"]), "{mechanism}");
        let refused = run(&relay, command(&relay), mechanism, "wrong");
        assert!(!refused.status.success(), "{mechanism}: {}", text(&refused));
    }
    for mail in relay.received(mechanisms.len()) {
        assert!(mail.contains("with ESMTPSA id") && mail.contains("Hello there"), "{mail}");
    }
}

/// A program as a file beside the relay's keys.
fn program(relay: &Submission, name: &str, content: &str) -> std::path::PathBuf {
    let path = relay.authority.path(name);
    fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
    path
}

const PHP: &str = r"<?php
[, $library, $host, $port, $root, $mechanism, $password] = $argv;
require $library;
$mail = new PHPMailer\PHPMailer\PHPMailer(true);
$mail->isSMTP();
$mail->Host = $host;
$mail->Port = (int) $port;
$mail->SMTPSecure = 'tls';
$mail->SMTPOptions = ['ssl' => ['cafile' => $root, 'peer_name' => 'mail.example']];
$mail->SMTPAuth = true;
$mail->AuthType = $mechanism;
$mail->Username = 'anna';
$mail->Password = $password;
$mail->setFrom('anna@here.example');
$mail->addAddress('box@there.example');
$mail->Subject = 'x';
$mail->Body = 'Hello there';
$mail->send();
";

#[test]
fn phpmailer_by_each_of_its_mechanisms() {
    let library = file("/usr/share/php/libphp-phpmailer/autoload.php", "libphp-phpmailer");
    let command = |relay: &Submission| {
        let mut command = Command::new(find("php"));
        command.arg(program(relay, "send.php", PHP)).arg(&library);
        command
    };
    each(command, &["CRAM-MD5", "PLAIN", "LOGIN"]);
}

const JAVASCRIPT: &str = "
const [host, port, root, method, pass] = process.argv.slice(2);
const transport = require('/usr/share/nodejs/nodemailer').createTransport({
  host, port: Number(port), requireTLS: true, authMethod: method, auth: { user: 'anna', pass },
  tls: { ca: require('fs').readFileSync(root), servername: 'mail.example' },
});
transport.sendMail({
  from: 'anna@here.example', to: 'box@there.example', subject: 'x', text: 'Hello there',
}).then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
";

#[test]
fn nodemailer_by_each_of_its_mechanisms() {
    file("/usr/share/nodejs/nodemailer", "node-nodemailer");
    let command = |relay: &Submission| {
        let mut command = Command::new(find("node"));
        command.arg(program(relay, "send.js", JAVASCRIPT));
        command
    };
    each(command, &["CRAM-MD5", "PLAIN", "LOGIN"]);
}

const JAVA: &str = r#"
import jakarta.mail.*;
import jakarta.mail.internet.*;
import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Properties;
import javax.net.ssl.*;
public class Send {
    public static void main(String[] given) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        store.setCertificateEntry("root", CertificateFactory.getInstance("X.509")
            .generateCertificate(new FileInputStream(given[2])));
        TrustManagerFactory trust =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        Properties settings = new Properties();
        settings.put("mail.smtp.host", given[0]);
        settings.put("mail.smtp.port", given[1]);
        settings.put("mail.smtp.auth", "true");
        settings.put("mail.smtp.auth.mechanisms", given[3]);
        settings.put("mail.smtp.starttls.required", "true");
        settings.put("mail.smtp.ssl.socketFactory", context.getSocketFactory());
        settings.put("mail.smtp.ssl.checkserveridentity", "false");
        MimeMessage mail = new MimeMessage(Session.getInstance(settings));
        mail.setFrom("anna@here.example");
        mail.setRecipients(Message.RecipientType.TO, "box@there.example");
        mail.setSubject("x");
        mail.setText("Hello there");
        Transport.send(mail, "anna", given[4]);
    }
}
"#;

#[test]
fn jakarta_mail_by_each_of_its_mechanisms() {
    let jars = [
        file("/usr/share/java/jakarta-mail.jar", "libjakarta-mail-java"),
        file("/usr/share/java/jakarta-activation.jar", "libjakarta-activation-java"),
    ];
    let command = |relay: &Submission| {
        let mut command = Command::new(find("java"));
        command.args(["-cp", &jars.join(":")]).arg(program(relay, "Send.java", JAVA));
        command
    };
    each(command, &["PLAIN", "LOGIN"]);
}
