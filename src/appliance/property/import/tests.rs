use super::table::Image;
use super::*;
use crate::appliance::class::class;
use std::collections::BTreeSet;

fn imported(vars: &[(&str, &str)], set: &[&str]) -> ImportedProperties {
    let vars: Vec<(OsString, OsString)> =
        vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
    import(vars.iter().map(|(name, value)| (name, value)), |property| set.contains(&property))
}

/// The values as text, `property=value`, in alphabetical order.
fn values(vars: &[(&str, &str)]) -> Vec<String> {
    let out = imported(vars, &[]);
    assert!(out.problems.is_empty(), "{:?}", out.problems);
    let text = |given: ImportedValue| match given.value {
        ImportedText::Text(text) => format!("{}={text}", given.property),
        ImportedText::File(path) => format!("{}<{}", given.property, path.display()),
    };
    let mut values: Vec<_> = out.values.into_iter().map(text).collect();
    values.sort();
    values
}

fn problem(vars: &[(&str, &str)]) -> String {
    let problems = imported(vars, &[]).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn the_table_names_properties_that_there_are_each_variable_once() {
    let mut names = BTreeSet::new();
    for entry in FOREIGN_VARIABLES {
        assert!(names.insert(entry.name), "{} stands there twice", entry.name);
        assert!(!entry.images.is_empty(), "{}", entry.name);
        let property = match entry.meaning {
            Meaning::Becomes(property)
            | Meaning::Converted(property, _)
            | Meaning::Host { property, .. }
            | Meaning::WithPreset { property, .. }
            | Meaning::PortOf(_, property) => property,
            Meaning::NoEffect(words) | Meaning::Impossible(words) => {
                assert!(!words.is_empty() && !words.ends_with('.'), "{}", entry.name);
                continue;
            }
        };
        assert!(class().property(property).is_some(), "{}: {property}", entry.name);
    }
}

#[test]
fn each_image_is_taken_over() {
    for (vars, expected) in [
        (
            &[
                ("RELAYHOST", "[smtp.example.com]:587"),
                ("RELAYHOST_USERNAME", "user"),
                ("RELAYHOST_PASSWORD", "se cret"),
                ("ALLOWED_SENDER_DOMAINS", "a.example b.example"),
                ("POSTFIX_myhostname", "relay.example"),
                ("POSTFIX_message_size_limit", "10240000"),
                ("SMTPD_SASL_USERS", "u1:p1,u2@x.example:p:2"),
            ][..],
            &[
                "allowed_sender_domains=a.example b.example",
                "hostname=relay.example",
                "message_size_limit=10240000",
                "smart_relay=[smtp.example.com]:587",
                "smart_relay_password=se cret",
                "smart_relay_username=user",
                "smtp_users=u1:{PLAIN}p1 u2@x.example:{PLAIN}p:2",
            ][..],
        ),
        (
            &[
                ("RELAYHOST", "[smtp.gmail.com]:587"),
                ("RELAYHOST_USERNAME", "you@gmail.example"),
                ("XOAUTH2_CLIENT_ID", "client"),
                ("XOAUTH2_SECRET_FILE", "/run/secrets/client"),
                ("XOAUTH2_INITIAL_ACCESS_TOKEN", "access"),
                ("XOAUTH2_INITIAL_REFRESH_TOKEN", "refresh"),
            ],
            &[
                "smart_relay=[smtp.gmail.com]:587",
                "smart_relay_oauth_client_id=client",
                "smart_relay_oauth_client_secret</run/secrets/client",
                "smart_relay_oauth_refresh_token=refresh",
                "smart_relay_username=you@gmail.example",
            ],
        ),
        (
            &[
                ("RELAY_HOST", "smtp.example.com"),
                ("RELAY_PORT", "465"),
                ("RELAY_USER", "user"),
                ("RELAY_PASSWORD_FILE", "/run/secrets/relay"),
                ("POSTFIX_MESSAGE_SIZE_LIMIT", "1000000"),
            ],
            &[
                "message_size_limit=1000000",
                "smart_relay=smtp.example.com:465",
                "smart_relay_password</run/secrets/relay",
                "smart_relay_username=user",
            ],
        ),
        (
            &[
                ("SMTP_SERVER", "smtp.example.com"),
                ("SMTP_USERNAME", "user"),
                ("SMTP_PASSWORD", "secret"),
                ("SERVER_HOSTNAME", "relay.example"),
                ("SMTP_NETWORKS", "10.0.0.0/8,[fd00::]/8"),
                ("OVERWRITE_FROM", "\"A name\" <a@b.example>"),
            ],
            &[
                "hostname=relay.example",
                "rewrite_from=a@b.example",
                "smart_relay=smtp.example.com:587",
                "smart_relay_password=secret",
                "smart_relay_username=user",
                "smtpd_trusted_networks=10.0.0.0/8 fd00::/8",
            ],
        ),
        (
            &[
                ("MAILNAME", "relay.example"),
                ("SMARTHOST_ADDRESS", "2001:db8::1"),
                ("SMARTHOST_PORT", "2525"),
                ("RELAY_NETWORKS", ":10.0.0.0/8:192.168.0.0/16"),
            ],
            &[
                "hostname=relay.example",
                "smart_relay=[2001:db8::1]:2525",
                "smtpd_trusted_networks=10.0.0.0/8 192.168.0.0/16",
            ],
        ),
        (
            &[("SES_USER", "AKIA"), ("SES_PASSWORD", "secret"), ("SES_REGION", "eu-west-1")],
            &[
                "smart_relay_password=secret",
                "smart_relay_preset=ses:eu-west-1",
                "smart_relay_username=AKIA",
            ],
        ),
        (
            &[("GMAIL_USER", "a@gmail.example")],
            &["smart_relay_preset=gmail", "smart_relay_username=a@gmail.example"],
        ),
        (&[("POSTFIX_maximal_queue_lifetime", "3")], &["queue_lifetime=3d"]),
        (&[("POSTFIX_smtp_tls_security_level", "encrypt")], &["smart_relay_tls=required"]),
        (&[("POSTFIX_inet_interfaces", "all")], &[]),
        (&[("RELAY_HOST", "mx.example:26")], &["smart_relay=mx.example:26"]),
    ] {
        assert_eq!(values(vars), expected, "{vars:?}");
    }
}

#[test]
fn what_cannot_be_taken_over_stops_the_start() {
    for (vars, words) in [
        (&[("POSTFIX_smtp_helo_name", "x")][..], "there is no property for it"),
        (&[("POSTFIX_mynetworks", "hash:/etc/x")], "MTA_SMTPD_TRUSTED_NETWORKS"),
        (&[("POSTFIX_message_size_limit", "0")], "a limit is needed"),
        (&[("RELAYHOST_TLS_LEVEL", "dane")], "MTA_SMART_RELAY_TLS"),
        (&[("SMTPD_SASL_USERS", "anna")], "name:password"),
        (&[("SMTPD_SASL_USERS", "anna:with blank")], "MTA_SMTP_USERS_FILE"),
        (&[("RELAY_PORT", "587")], "port of RELAY_HOST"),
        (&[("SMTP_SERVER", "x.example"), ("SMTP_PORT", "smtp")], "not a number"),
        (&[("DKIM_SELECTOR", "mail")], "domain=selector"),
        (&[("RELAY_DOMAINS", "a : b")], "no domain"),
        (&[("RELAYHOST", "a.example"), ("SMTP_SERVER", "b.example")], "remove one of them"),
        (&[("RELAYHOST_FILE", "/x"), ("RELAYHOST", "a.example")], "remove one of them"),
        (&[("SMTP_NETWORKS_FILE", "/x")], "write the value itself"),
    ] {
        let told = problem(vars);
        assert!(told.contains("cannot be imported") && told.contains(words), "{told}");
    }
}

#[test]
fn each_variable_is_reported_and_no_secret_is() {
    let out = imported(
        &[
            ("RELAYHOST", "mx.example"),
            ("RELAYHOST_PASSWORD", "hunter2"),
            ("POSTFIX_compatibility_level", "2"),
            ("POSTFIX_inet_protocols", "all"),
            ("HOME", "/root"),
            ("MAILNAME", ""),
        ],
        &["smart_relay"],
    );
    let notes = out.notes.join("\n");
    for words in [
        "RELAYHOST is ignored: MTA_SMART_RELAY is set",
        "RELAYHOST_PASSWORD becomes smart_relay_password",
        "POSTFIX_compatibility_level has no effect here",
        "POSTFIX_inet_protocols asks for what happens here anyway",
        "only this host may relay",
    ] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    assert!(!notes.contains("hunter2") && !notes.contains("HOME") && !notes.contains("MAILNAME"));
    assert_eq!(out.values.len(), 1);
    // The same twice is no contradiction.
    let twice = [("RELAYHOST", "mx.example"), ("POSTFIX_relayhost", "mx.example")];
    assert_eq!(imported(&twice, &[]).problems.len(), 0);
}

/// The sections of docs/migration.md, one for each image.
const SECTIONS: [Image; 4] = [Image::Boky, Image::Mailserver, Image::Juanluis, Image::Namshi];

fn section(image: Image) -> String {
    let here = |entry: &ForeignVariable| match &entry.meaning {
        Meaning::Becomes(property) => format!("`{}`", variable(property)),
        Meaning::Converted(property, _) => format!("`{}`, in its form", variable(property)),
        Meaning::Host { property, port, default_port } => {
            format!("`{}`, with the port of `{port}`, else {default_port}", variable(property))
        }
        Meaning::PortOf(host, _) => format!("the port of `{host}`"),
        Meaning::WithPreset { property, preset, .. } => {
            format!("`{}`, with `{}={preset}`", variable(property), variable(PRESET))
        }
        Meaning::NoEffect(words) => format!("nothing: {words}"),
        Meaning::Impossible(words) => format!("**stops the start**: {words}"),
    };
    let rows = FOREIGN_VARIABLES
        .iter()
        .filter(|entry| entry.images.contains(&image))
        .map(|entry| format!("| `{}` | {} |\n", entry.name, here(entry)));
    rows.fold("| there | here |\n|---|---|\n".to_owned(), |text, row| text + &row)
}

#[test]
fn the_page_has_the_table() {
    let page = include_str!("../../../../docs/migration.md");
    for image in SECTIONS {
        let name = image.name();
        let begin = format!("<!-- image {name} -->\n");
        let text = page.split(&begin).nth(1).and_then(|rest| rest.split("<!-- /image -->").next());
        assert_eq!(text, Some(section(image).as_str()), "{name}: the page should have this");
    }
}
