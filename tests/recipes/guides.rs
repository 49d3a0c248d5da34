//! docs/migration.md and docs/kubernetes.md, checked with the real program.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// `postern check` with these variables and no others.
fn check(variables: &BTreeMap<String, String>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postern"))
        .arg("check")
        .env_clear()
        .envs(variables)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let octets = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&octets).into_owned()
}

/// The texts between back-ticks.
fn codes(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Each variable of another image with the property that the page gives for it.
fn migrations() -> Vec<(String, String)> {
    let page = page("migration.md");
    let table = page.split("<!-- migration -->").nth(1).unwrap();
    let table = table.split("<!-- /migration -->").next().unwrap();
    let rows = table.lines().filter(|line| line.contains("`MTA_"));
    rows.flat_map(|row| {
        let mut cells = row.trim_matches('|').split('|');
        let (there, here) = (cells.next().unwrap(), cells.next().unwrap());
        let property = codes(here).into_iter().next().unwrap();
        codes(there).into_iter().map(move |word| (word, property.clone()))
    })
    .collect()
}

#[test]
fn a_variable_of_another_image_is_answered_as_the_page_says() {
    let rows = migrations();
    assert!(rows.len() >= 17, "only {} variables on the page", rows.len());
    let variables =
        rows.iter().map(|(word, _)| (format!("MTA_{word}"), "value".to_owned())).collect();
    let output = check(&variables);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
    let said = text(&output);
    for (word, property) in &rows {
        assert!(
            said.contains(&format!("no property MTA_{word}\n  did you mean {property}?")),
            "nothing says that MTA_{word} is {property} here:\n{said}"
        );
    }
}

fn variables(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn another_images_variables_are_taken_over_on_request() {
    let old = [
        ("RELAYHOST", "[127.0.0.1]:2525"),
        ("RELAYHOST_USERNAME", "anna"),
        ("RELAYHOST_PASSWORD", "hunter2"),
        ("POSTFIX_myhostname", "relay.example"),
        ("SMTPD_SASL_USERS", "ben:hunter3"),
    ];
    let output = check(&variables(&old));
    let said = text(&output);
    for (name, _) in old {
        assert!(said.contains(&format!("WARNING: {name} is ignored")), "{name}: {said}");
    }
    assert!(said.contains("or set MTA_IMPORT_ENVIRONMENT=yes"), "{said}");

    let directory = TempDir::new().unwrap();
    let [data, run] = ["data", "run"].map(|name| directory.path().join(name));
    std::fs::create_dir(&data).unwrap();
    let (data, run) = (data.display().to_string(), run.display().to_string());
    let ours = [
        ("MTA_IMPORT_ENVIRONMENT", "yes"),
        ("MTA_VOLUME_DATA", data.as_str()),
        ("MTA_RUN_DIR", run.as_str()),
        ("MTA_SMTP_PORT", "2526"),
        // Logins need TLS or this.
        ("MTA_PLAINTEXT_AUTH_NETWORKS", "10.0.0.0/8"),
    ];
    let output = check(&variables(&[&old[..], &ours].concat()));
    let said = text(&output);
    assert!(!said.contains("hunter"), "{said}");
    for words in [
        "NOTE: RELAYHOST becomes smart_relay.",
        "NOTE: SMTPD_SASL_USERS becomes smtp_users.",
        "NOTE: no variable names the networks of the clients",
        "RELAYHOST_PASSWORD (MTA_SMART_RELAY_PASSWORD)",
        "POSTFIX_myhostname (MTA_HOSTNAME)",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(
        said.lines().any(|line| line.starts_with("hostname") && line.contains("relay.example"))
    );

    let not_ours = [("POSTFIX_smtp_helo_name", "x"), ("OVERWRITE_FROM", "nobody")];
    let output = check(&variables(&[&not_ours[..], &ours].concat()));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("Error: POSTFIX_smtp_helo_name cannot be imported"), "{said}");
    assert!(said.contains("Error: OVERWRITE_FROM cannot be imported\n  it is not one"), "{said}");
}

#[test]
fn the_pod_of_the_page_starts() {
    let page = page("kubernetes.md");
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("password"), "secret").unwrap();
    std::fs::create_dir(at("data")).unwrap();
    let mut variables = BTreeMap::new();
    for line in page.lines().filter(|line| line.contains("{name: MTA_")) {
        let (_, rest) = line.split_once("{name: ").unwrap();
        let (name, rest) = rest.split_once(", value: ").unwrap();
        let value = rest.split('}').next().unwrap().trim_matches('"');
        variables.insert(name.to_owned(), value.to_owned());
    }
    assert!(variables.len() >= 7, "{variables:?}");
    let password = variables.insert("MTA_PASSWORD_FILE".into(), at("password")).unwrap();
    let (mount, _) = password.rsplit_once('/').unwrap();
    assert!(page.contains(&format!("mountPath: {mount}, readOnly: true")), "{password}");
    // What Kubernetes adds for a service of this name.
    variables.insert("MTA_PORT".into(), "tcp://10.43.0.7:25".into());
    variables.insert("MTA_SERVICE_HOST".into(), "10.43.0.7".into());
    variables.insert("MTA_SERVICE_PORT_SMTP".into(), "25".into());
    // The pod's volumes are directories here.
    variables.insert("MTA_VOLUME_DATA".into(), at("data"));
    variables.insert("MTA_RUN_DIR".into(), at("run"));
    // The relay's name does not resolve here.
    variables.insert("MTA_SMART_RELAY".into(), "[127.0.0.1]".into());
    let output = check(&variables);
    assert!(output.status.success(), "{}", text(&output));
    let ports: Vec<&String> =
        ["MTA_SMTP_PORT", "MTA_UI_PORT"].iter().map(|name| &variables[*name]).collect();
    for port in ports {
        assert!(page.contains(&format!("containerPort: {port}")), "{port}");
        assert!(page.contains(&format!("targetPort: {port}")), "{port}");
    }
    assert!(page.contains(&format!("{{path: /readyz, port: {}}}", variables["MTA_UI_PORT"])));
}
