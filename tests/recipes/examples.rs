//! The files of appliance/examples: what each sets for the relay, given to the real `postern
//! check`. That the containers run is shown by tests/grid, where there is an engine.
//!
//! An example is a row of [`EXAMPLES`]. Names and networks are those of the file; secrets and
//! volumes, which the reader brings, are made here.

use crate::support::keys::{Authority, EC};
use crate::support::program::{free_port, open_directory, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An example: its file, and words of the report of `check`, by which it says what the example is
/// for: also each warning, if it has some. A property and its value are written `name=value`.
type Example = (&'static str, &'static [&'static str]);

/// All of them.
const EXAMPLES: &[Example] = &[
    ("direct-dkim.yaml", &["dkim_domains=example.com", "dkim_generate=yes"]),
    ("haproxy.yaml", &["proxy_networks=smtp:10.26.27.9"]),
    ("kubernetes.yaml", &["username=operator", "smart_relay=[relay.example.com]"]),
    ("gmail.yaml", &["smart_relay_preset=gmail", "rewrite_from=anna@gmail.com"]),
    (
        "microsoft-oauth2.yaml",
        &["smart_relay_preset=office365", "smart_relay_oauth_tenant=example.com"],
    ),
    ("monitoring.yaml", &["hostname=mail.example.com"]),
    ("printer.yaml", &["Devices in 192.168.20.0/24 may send at port", "at most 60/1h"]),
    ("rewriting.yaml", &["rewrite_from=no-reply@example.com", "root@db1.lan=ops@example.com"]),
    ("rates.yaml", &[".outlook.com=30/min, *=100/s"]),
    (
        "sender-domains.yaml",
        &["Who may be the sender: addresses in example.com, news.example.com, and no others."],
    ),
    ("ses.yaml", &["smart_relay_preset=ses:eu-west-1", "smart_relay_username=AKIAEXAMPLE"]),
    ("slack-alert.yaml", &["webhook_events=alert"]),
    ("smart-relay.yaml", &["smart_relay=[relay.example.com]"]),
    (
        "staging-redirect.yaml",
        &["WARNING: ALL MAIL IS REDIRECTED: whatever its recipients, it goes to staging@"],
    ),
    ("submission.yaml", &["Who may log in: shop on port"]),
    ("tls.yaml", &["ssl_disabled=no"]),
    (
        "two-providers.yaml",
        &["upstream_ses_preset=ses:eu-west-1", "upstream_news_senders=news.example.com"],
    ),
    (
        "web-application.yaml",
        &["smtpd_trusted_networks=10.26.26.0/24", "Who may relay: 10.26.26.0/24 may relay;"],
    ),
];

/// What a secret of an example holds, by the name of its file; others hold [`PLANTED`].
const SECRETS: &[(&str, &str)] = &[
    ("smtp_users", "shop:{PLAIN}planted-s3cret;senders=shop@example.com"),
    ("webhook_url", "slack+https://hooks.slack.com/services/T0/B0/planted-s3cret"),
];

/// A secret that no report shows.
const PLANTED: &str = "planted-s3cret";

/// Reads YAML, prints JSON: a list of documents.
const TO_JSON: &str = "\
import json, sys, yaml
print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1], encoding='utf-8')))))
";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("appliance/examples")
}

/// The documents of a YAML file.
pub fn documents(file: &Path) -> Vec<Value> {
    let output = run(Command::new("/usr/bin/python3").args(["-c", TO_JSON]).arg(file));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the example sets for its relays, by their names: those of the image `postern`.
fn relays(file: &Path) -> Vec<(String, BTreeMap<String, String>)> {
    let mut relays = Vec::new();
    for document in documents(file) {
        for (name, service) in document["services"].as_object().into_iter().flatten() {
            if is_relay(service) {
                let set = service["environment"].as_object().unwrap().iter();
                let set = set.map(|(name, value)| (name.clone(), filled_in(value)));
                relays.push((name.clone(), set.collect()));
            }
        }
        let containers = document["spec"]["template"]["spec"]["containers"].as_array();
        for container in containers.into_iter().flatten().filter(|one| is_relay(one)) {
            let set = container["env"].as_array().into_iter().flatten();
            let set = set.map(|one| (plain(&one["name"]), plain(&one["value"])));
            relays.push((plain(&container["name"]), set.collect()));
        }
    }
    relays
}

fn is_relay(service: &Value) -> bool {
    let image = service["image"].as_str().unwrap_or_default();
    image == "postern" || image.starts_with("${POSTERN_IMAGE")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value with the defaults of its variables, as compose fills them in: `${NAME:-default}`.
fn filled_in(value: &Value) -> String {
    let text = plain(value);
    let mut done = String::new();
    let mut rest = text.as_str();
    while let Some((before, behind)) = rest.split_once("${") {
        let (variable, after) = behind.split_once('}').expect("the variable ends");
        done += before;
        done += variable.split_once(":-").expect("it has a default").1;
        rest = after;
    }
    (done + rest).replace("$$", "$")
}

/// `check` with these variables, and directories of its own for what the container has. Gives its
/// exit code and its report.
fn check(mut set: BTreeMap<String, String>) -> (Option<i32>, String) {
    let directory = open_directory();
    let at = |name: &str| directory.path().join(name);
    for name in ["data", "run"] {
        fs::create_dir(at(name)).unwrap();
    }
    for value in set.values_mut() {
        if let Some(name) = value.strip_prefix("/run/secrets/") {
            let file = at(&name.replace('/', "-"));
            let known = SECRETS.iter().find(|(known, _)| *known == name);
            fs::write(&file, known.map_or(PLANTED, |(_, content)| content)).unwrap();
            *value = file.display().to_string();
        }
    }
    if set.get("MTA_SSL_DISABLED").is_some_and(|disabled| disabled == "no") {
        let authority = Authority::new();
        let issued = authority.issue("server", EC, "mail.example.com");
        fs::create_dir(at("key")).unwrap();
        fs::copy(issued.key, at("key").join("server.key")).unwrap();
        fs::copy(issued.chain, at("key").join("server.pem")).unwrap();
        set.insert("MTA_VOLUME_KEY".into(), at("key").display().to_string());
    }
    set.insert("MTA_VOLUME_DATA".into(), at("data").display().to_string());
    set.insert("MTA_RUN_DIR".into(), at("run").display().to_string());
    // The machine of the test may have a server at the usual ones.
    for port in ["SMTP", "SMTPS", "SUBMISSION", "UI", "DEVICE"] {
        let name = format!("MTA_{port}_PORT");
        if port != "DEVICE" || set.contains_key(&name) {
            set.insert(name, free_port().to_string());
        }
    }
    let program = env!("CARGO_BIN_EXE_postern");
    let output = Command::new(program).arg("check").env_clear().envs(set).output().unwrap();
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Whether a report has these words, or `name=value` of a property.
fn says(report: &str, words: &str) -> bool {
    let as_property = words.split_once('=').is_some_and(|(name, value)| {
        report.lines().any(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with("  "));
            rest.is_some_and(|rest| rest.trim_start().starts_with(&format!("{value}  ")))
        })
    });
    as_property || report.contains(words)
}

#[test]
fn each_example_has_properties_that_are_right() {
    let page = fs::read_to_string(folder().join("README.md")).unwrap();
    for (file, words) in EXAMPLES {
        let relays = relays(&folder().join(file));
        assert!(!relays.is_empty(), "{file} has no service of the image postern");
        let mut reports = String::new();
        for (name, set) in relays {
            let (code, report) = check(set);
            assert_eq!(code, Some(0), "{file}, {name}: {report}");
            let mut warnings = report.lines().filter(|line| line.contains("WARNING"));
            let is_wanted = |line: &str| words.iter().any(|words| line.contains(words));
            assert!(warnings.all(is_wanted), "{file}, {name}: {report}");
            assert!(!report.contains(PLANTED), "{file}, {name}: {report}");
            reports += &report;
        }
        for words in *words {
            assert!(says(&reports, words), "{file}: '{words}' is missing: {reports}");
        }
        assert!(page.contains(&format!("[{file}]({file})")), "README.md does not name {file}");
    }
}

#[test]
fn each_compose_file_and_manifest_is_an_example() {
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // The configuration of Prometheus, which is no example by itself.
        if name.ends_with(".yaml") {
            let known = EXAMPLES.iter().any(|(file, _)| *file == name);
            assert!(known, "appliance/examples/{name}: give it a row in EXAMPLES");
        }
    }
}

/// From PyPI; see scripts/install-peers.sh.
const KUBERNETES_VALIDATE: &str = "/usr/local/lib/postern-peers/python/bin/kubernetes-validate";

/// Whether a manifest fits the schemas of Kubernetes, and the report.
fn fits_kubernetes(manifest: &Path) -> (bool, String) {
    let output = Command::new(KUBERNETES_VALIDATE).arg("--strict").arg(manifest).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{KUBERNETES_VALIDATE}: {error}; run scripts/install-peers.sh as root")
    });
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_manifest_fits_the_schemas_of_kubernetes_and_is_that_of_the_page() {
    let manifest = folder().join("kubernetes.yaml");
    let (fits, report) = fits_kubernetes(&manifest);
    assert!(fits, "{report}");
    let text = fs::read_to_string(&manifest).unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kubernetes.md");
    let page = fs::read_to_string(page).unwrap();
    let block = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(text.ends_with(block), "docs/kubernetes.md has another manifest");

    let directory = open_directory();
    let wrong = directory.path().join("wrong.yaml");
    fs::write(&wrong, text.replace("replicas: 1", "replica: 1")).unwrap();
    let (fits, report) = fits_kubernetes(&wrong);
    assert!(!fits && report.contains("replica"), "{report}");
}
