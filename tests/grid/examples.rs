//! The compose files of appliance/examples, each run unchanged, with the image of this repository
//! and a web application that sends a mail.

use crate::engine::{self, Container, Engine, Grid, Undo};
use crate::{http, prometheus, wait_for};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The uid of the relay in the image.
const RELAY: u32 = 2525;

/// Sends a mail from inside the web application, through the alias that it uses.
const SEND: &str = "\
import smtplib
with smtplib.SMTP('aux', 25, timeout=20) as relay:
    relay.sendmail('shop@example.com', ['customer@example.org'], 'Subject: Order\\r\\n\\r\\nThanks')
";

/// The same with TLS, both ways; the certificate is from a private authority.
const SEND_TLS: &str = "\
import smtplib, ssl, sys
trust = ssl.create_default_context(cadata=sys.argv[1])
with smtplib.SMTP('aux', 25, timeout=20) as relay:
    relay.starttls(context=trust)
    relay.sendmail('shop@example.com', ['one@example.org'], 'Subject: Order\\r\\n\\r\\nThanks')
with smtplib.SMTP_SSL('aux', 465, timeout=20, context=trust) as relay:
    relay.sendmail('shop@example.com', ['two@example.org'], 'Subject: Order\\r\\n\\r\\nThanks')
";

/// One start of an example.
struct Example<'a> {
    grid: Grid<'a>,
    mta: Container<'a>,
}

impl<'a> Example<'a> {
    fn start(engine: &'a Engine, file: &'static str, variables: &[(&'static str, &str)]) -> Self {
        let part = Path::new(file).file_stem().unwrap().to_str().unwrap();
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let grid = Grid::of(engine, part, file, variables.collect());
        grid.config(&[]);
        grid.compose(&["up", "--detach"]);
        let mta = grid.container("mta");
        mta.wait_healthy();
        Self { grid, mta }
    }

    fn send(&self, program: &str, arguments: &[&str]) {
        let app = self.grid.container("app");
        app.exec(&[&["python3", "-c", program], arguments].concat());
    }

    /// Waits until the relay has, or had, this recipient's mail: its destination depends on the
    /// names that this machine can resolve.
    fn wait_taken(&self, recipient: &str) {
        wait_for(&format!("mail for {recipient} in the relay"), LIMIT, || {
            let list = self.mta.exec(&["postern", "queue", "list", "--json"]);
            let history = self.mta.exec(&["postern", "queue", "history", "--json"]);
            match list.contains(recipient) || history.contains(recipient) {
                true => Ok(()),
                false => Err(format!("{list}{history}")),
            }
        });
    }
}

#[test]
fn each_example_runs_as_it_stands() {
    let engine = Engine::find();
    let undo = Undo::new(&engine);
    let name = engine::unique("examples");
    let [mta, app, mon] =
        [("mta", "Dockerfile"), ("app", "grid/webapp/Dockerfile"), ("mon", "grid/mon/Dockerfile")]
            .map(|(part, file)| undo.image(&format!("{name}-{part}"), file));
    let images = [("POSTERN_IMAGE", mta.as_str()), ("APP_IMAGE", app.as_str())];

    web_application(&engine, &images);
    smart_relay(&engine, &images, &mta);
    tls(&engine, &images);
    monitoring(&engine, &mta, &mon);
}

/// There may be no MX to be looked up here: what counts is that the mail is accepted.
fn web_application(engine: &Engine, images: &[(&'static str, &str)]) {
    let example = Example::start(engine, "appliance/examples/web-application.yaml", images);
    example.send(SEND, &[]);
    example.wait_taken("customer@example.org");
    let page = http::get_text(example.grid.port("mta", 80), "/status").unwrap();
    assert!(!page.is_empty());
}

fn smart_relay(engine: &Engine, images: &[(&'static str, &str)], image: &str) {
    let variables = [images, &[("SMART_RELAY", "[far]:25")]].concat();
    let example = Example::start(engine, "appliance/examples/smart-relay.yaml", &variables);
    let undo = Undo::new(engine);
    let network = example.grid.network("default");
    let far = undo.run(
        "far",
        &["--network", &network, "--network-alias", "far", "--entrypoint", "/usr/bin/postern"]
            .into_iter()
            .chain([image, "sink", "--listen", "0.0.0.0:25", "--maildir", "/data"])
            .collect::<Vec<_>>(),
    );
    wait_for("the far relay to take mail", LIMIT, || match far.exec(&["ls", "/data"]) {
        folders if folders.contains("new") => Ok(()),
        folders => Err(folders),
    });
    example.send(SEND, &[]);
    // Mail that came before the far relay was ready waits for minutes, and so does all mail after
    // it.
    example.mta.exec(&["postern", "queue", "retry", "--all", "--yes"]);
    wait_for("the mail at the smart relay", LIMIT, || match far.exec(&["ls", "/data/new"]) {
        mails if !mails.is_empty() => Ok(()),
        mails => Err(mails),
    });
    // A container on a network keeps that network from being removed.
    drop(undo);
}

fn tls(engine: &Engine, images: &[(&'static str, &str)]) {
    let keys = tempfile::tempdir().unwrap();
    // A key pair by the commands in docs/tls.md, with the relay's name in the application.
    let made = Command::new("openssl")
        .current_dir(keys.path())
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-days", "2", "-subj", "/CN=mail.example.com", "-keyout", "server.key"])
        .args(["-addext", "subjectAltName=DNS:mail.example.com,DNS:aux", "-out", "server.pem"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for path in [keys.path().to_owned(), keys.path().join("server.key")] {
        chown(path, Some(RELAY), Some(RELAY)).unwrap();
    }
    let authority = std::fs::read_to_string(keys.path().join("server.pem")).unwrap();
    let place = keys.path().display().to_string();
    let variables = [images, &[("POSTERN_KEYS", place.as_str())]].concat();
    let example = Example::start(engine, "appliance/examples/tls.yaml", &variables);
    example.send(SEND_TLS, &[&authority]);
    example.wait_taken("one@example.org");
    example.wait_taken("two@example.org");
}

fn monitoring(engine: &Engine, mta: &str, mon: &str) {
    // The official image has the program and a /prometheus for its user; Debian's has the program.
    let undo = Undo::new(engine);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Dockerfile");
    let lines = format!(
        "FROM {mon}\nUSER 0\nRUN install -d -o prometheus -g prometheus /prometheus\nUSER \
        prometheus\n"
    );
    std::fs::write(&file, lines).unwrap();
    let image =
        undo.image(&engine::unique("examples-prometheus"), file.to_str().expect("a plain path"));
    let variables = [("POSTERN_IMAGE", mta), ("PROMETHEUS_IMAGE", &image)];
    let example = Example::start(engine, "appliance/examples/monitoring.yaml", &variables);
    let port = example.grid.port("prometheus", 9090);
    wait_for("the relay's counters in Prometheus", LIMIT, || {
        let values = prometheus(port, "mta_mqueue_messages%7Binstance=%22mail.example.com%22%7D")?;
        if values.keys().eq(["mta"]) { Ok(()) } else { Err(format!("{values:?}")) }
    });
    let rules = http::get_json(port, "/api/v1/rules").unwrap();
    let loaded = rules["data"]["groups"][0]["rules"].as_array().map_or(0, Vec::len);
    let shipped = include_str!("../../appliance/monitor/rules.yml").matches("- alert: ").count();
    assert_eq!(loaded, shipped, "{rules}");
    // The example is removed before its image.
    drop(example);
}

#[test]
fn compose_passes_version_and_revision_on_and_says_unknown_otherwise() {
    let engine = Engine::find();
    let grid = Grid::of(&engine, "labels", "compose.yaml", Vec::new());
    let config = grid.config(&[]);
    assert!(
        config.contains("VERSION: unknown") && config.contains("REVISION: unknown"),
        "{config}"
    );
    let config = grid.config(&[("POSTERN_VERSION", "9.8.7"), ("POSTERN_REVISION", "0a1b2c3")]);
    assert!(config.contains("VERSION: 9.8.7") && config.contains("REVISION: 0a1b2c3"), "{config}");
}
