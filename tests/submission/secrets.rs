//! A planted password is nowhere: not in the log, on a page, in `postern check`, in the arguments
//! or the environment of any process.

use crate::{Submission, coded, plain};
use std::fs;

const RIGHT: &str = "planted-right-secret";
const WRONG: &str = "planted-wrong-secret";

#[test]
fn a_password_is_in_no_log_page_or_process() {
    let relay = Submission::start(&format!("anna:{{PLAIN}}{RIGHT}\n"), &[]);
    let mut client = relay.logged_in("anna", RIGHT);
    client.mail("a@b.example", &["box@there.example"], b"Subject: x\r\n\r\nHello\r\n");
    relay.hello().ask(&plain("anna", WRONG), "535 5.7.8");
    let mut client = relay.hello();
    client.ask("AUTH LOGIN", "334 ");
    client.ask(&coded("anna"), "334 ");
    client.ask(&coded(WRONG), "535 5.7.8");
    client.ask(&format!("AUTH PLAIN {} {WRONG}", coded(WRONG)), "501 5.5.4");
    // People type their password into the field for the name.
    relay.hello().ask(&plain(RIGHT, RIGHT), "535 5.7.8");
    relay.sink.mails(1);

    let mut texts = vec![("the log", relay.appliance.log().join("\n"))];
    for page in ["/", "/sessions", "/log", "/history", "/settings", "/queue", "/metrics", "/status"]
    {
        texts.push((page, relay.appliance.get_as(page, "").1));
    }
    for path in ["sessions", "refusals", "log", "history", "settings"] {
        texts.push((path, relay.appliance.get_as(&format!("/api/v1/{path}"), "").1));
    }
    let checked = relay.appliance.command(&["check"]).output().unwrap();
    let checked = [checked.stdout, checked.stderr].concat();
    texts.push(("postern check", String::from_utf8(checked).unwrap()));
    let core = relay.appliance.child("core").unwrap().to_string();
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        entry.ok()?.file_name().into_string().ok().filter(|name| name.parse::<u32>().is_ok())
    });
    let numbers: Vec<String> = numbers.collect();
    assert!(numbers.contains(&core));
    for number in numbers {
        for file in ["cmdline", "environ"] {
            // Others may have ended, or be somebody else's.
            let read = fs::read(format!("/proc/{number}/{file}")).unwrap_or_default();
            texts.push(("a process", String::from_utf8_lossy(&read).into_owned()));
        }
    }
    let message = coded(&format!("\0anna\0{RIGHT}"));
    let secrets = [RIGHT.to_owned(), WRONG.to_owned(), coded(WRONG), message];
    for (place, text) in texts {
        assert!(!text.is_empty() || place == "a process", "{place} is empty");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in {place}: {text}");
        }
    }
    assert!(relay.has_logged(&["login", "user=anna", "status=failed"]));
    assert!(relay.has_logged(&["login", "user=(unknown)", "status=failed"]));
}
