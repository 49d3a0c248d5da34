//! DKIM signatures, verified by dkimpy and OpenDKIM.

use super::mx::{host, mx, next_hop};
use super::seven_bit::SevenBitSink;
use crate::support::appliance::{Appliance, HOSTNAME, Sink};
use crate::support::client::Client;
use crate::support::dkim::{DkimVolume, Verified, received};
use crate::support::letter::shapes;
use crate::support::names::Names;
use crate::support::patience::until;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Retries at once.
const HURRY: [(&str, &str); 2] =
    [("MTA_MINIMAL_BACKOFF_TIME", "1s"), ("MTA_MAXIMAL_BACKOFF_TIME", "1s")];

const BOTH: [(&str, &str); 2] = [("postern", "rsa-sha256"), ("postern-ed25519", "ed25519-sha256")];

fn appliance(volume: &DkimVolume, relay: &str, more: &[(&str, &str)]) -> Appliance {
    let root = volume.root().display().to_string();
    let mut properties = vec![("MTA_VOLUME_KEY", &*root), ("MTA_SMART_RELAY", relay)];
    properties.extend(HURRY);
    properties.extend(more);
    Appliance::start(&properties)
}

fn send(appliance: &Appliance, to: &str, content: &[u8]) {
    Client::hello(appliance.smtp).mail("sender@here.example", &[to], content);
}

/// The mails that a sink has, once there are so many.
fn mails(sink: &Sink, count: usize) -> Vec<Vec<u8>> {
    until(&format!("{count} mails"), || match sink.count() {
        found if found == count => Ok(()),
        found => Err(format!("{found} mails")),
    });
    received(&sink.maildir())
}

/// Asserts that a mail has the signatures of these selectors, and that all hold.
fn assert_holds(found: &[Verified], domain: &str, selectors: &[(&str, &str)], mail: &[u8]) {
    let told: Vec<_> = found.iter().map(|one| (&*one.key, &*one.algorithm)).collect();
    let keys: Vec<String> =
        selectors.iter().map(|(name, _)| format!("{name}._domainkey.{domain}")).collect();
    let wanted: Vec<_> =
        keys.iter().zip(selectors).map(|(key, (_, algorithm))| (&**key, *algorithm)).collect();
    let text = String::from_utf8_lossy(&mail[..mail.len().min(4000)]);
    assert_eq!(told, wanted, "{text}");
    assert!(found.iter().all(|one| one.holds == json!(true)), "{found:?}\n{text}");
}

/// A mail of a form that depends on its number: fields folded, repeated, missing, empty; bodies
/// with blanks, dots, empty lines, long lines, 8 bits.
fn variant(number: usize) -> Vec<u8> {
    let pick = |words: &[&str], salt: usize| {
        let mixed = number.wrapping_mul(2_654_435_761).wrapping_add(salt * 40_503) >> 7;
        words[mixed % words.len()].to_owned()
    };
    let mut mail = String::new();
    mail += &pick(
        &[
            "From: a@here.example\r\n",
            "FROM:  \"A, B\" <a@here.example>  \r\n",
            "from:\r\n\tAnn\r\n  (of here) <a@here.example>\r\n",
            "From: =?utf-8?q?=C3=A4?= <a@sub.here.example>\r\n",
        ],
        1,
    );
    mail += &pick(
        &[
            "",
            "To: x@there.example\r\n",
            "To: x@there.example,\r\n y@there.example\r\n",
            "to:x@there.example\r\nTo: y@there.example\r\n",
        ],
        2,
    );
    mail += &pick(
        &[
            "",
            "Subject:\r\n",
            "Subject: \t one   two \r\n",
            "Subject: a\r\nSubject: b\r\n",
            "Subject: Gr\u{fc}\u{df}e\r\n",
            "Subject: a\r\n \r\n b\r\n",
        ],
        3,
    );
    mail += &pick(
        &[
            "",
            "Cc: c@there.example\r\nReply-To: r@here.example\r\n",
            "List-Unsubscribe: <mailto:u@here.example>\r\n",
            "X-Long: z\r\n\tzz\r\n",
        ],
        4,
    );
    if number.is_multiple_of(11) {
        // Many fields, and more of those that are signed once more than they occur.
        for field in 0..80 {
            mail += &format!("X-Field-{field}: {}\r\n", "value ".repeat(field % 12));
        }
        mail += "Cc: d@there.example\r\nCc:\r\n e@there.example\r\nReply-To: s@here.example\r\n";
        mail += "Date: Fri, 27 Nov 2026 12:00:00 +0000\r\n";
    }
    mail += &format!("Message-ID: <{number}@here.example>\r\n");
    if number.is_multiple_of(29) {
        // A bare header section.
        return mail.into_bytes();
    }
    mail += "\r\n";
    for line in 0..number % 9 {
        mail += &pick(
            &[
                "\r\n",
                " \r\n",
                "text  with \t blanks \r\n",
                ".\r\n",
                "..dots\r\n",
                "Gr\u{fc}\u{df}e \u{65e5}\r\n",
                "\tafter a tab\r\n",
                "From here\r\n",
            ],
            5 + line,
        );
    }
    if number.is_multiple_of(7) {
        mail += &"long ".repeat(190);
        mail += "\r\n";
    }
    mail += &pick(&["", "\r\n\r\n", " \t\r\n", "the end\r\n"], 20);
    mail.into_bytes()
}

/// Mails of all forms; `POSTERN_DKIM_MAILS` says how many other than a thousand.
fn variants() -> usize {
    let wanted = std::env::var("POSTERN_DKIM_MAILS").ok();
    wanted.map_or(1000, |number| number.parse().expect("POSTERN_DKIM_MAILS is a number"))
}

#[test]
fn a_thousand_mails_of_all_forms_are_signed_so_that_others_can_verify_it() {
    let volume = DkimVolume::with_keys("here.example");
    let sink = Sink::start("");
    let appliance = appliance(&volume, &sink.relay(), &[]);
    let mut client = Client::hello(appliance.smtp);
    let mut count = 0;
    for mail in shapes().into_iter().map(|(_, mail)| mail).chain((0..variants()).map(variant)) {
        client.mail("sender@here.example", &["box@there.example"], &mail);
        count += 1;
    }
    let mails = mails(&sink, count);
    for (found, mail) in volume.dkimpy(&mails).iter().zip(&mails) {
        assert_holds(found, "here.example", &BOTH, mail);
        assert!(found[0].fields.contains("from:from:"), "{found:?}");
    }
    volume.opendkim(&mails);
    println!("{count} mails, each with two signatures that dkimpy and OpenDKIM accept");
    for algorithm in ["rsa-sha256", "ed25519-sha256"] {
        let name = format!("mta_dkim_signatures_total{{algorithm=\"{algorithm}\"}}");
        assert_eq!(appliance.counter(&name), count as u64);
    }
    // A change of any part is noticed by the verifier, so it can fail.
    let plain = |mail: &&Vec<u8>| String::from_utf8_lossy(mail).contains("Subject: plain\r\n");
    let mut changed = mails.iter().find(plain).unwrap().clone();
    changed.extend_from_slice(b"more\r\n");
    assert_ne!(volume.dkimpy(&[changed])[0][0].holds, json!(true));
}

#[test]
fn mail_waits_for_a_missing_key_and_goes_when_it_is_there() {
    let volume = DkimVolume::new();
    let sink = Sink::start("");
    let appliance = appliance(&volume, &sink.relay(), &[("MTA_DKIM_DOMAINS", "here.example=s1")]);
    send(&appliance, "box@there.example", b"From: a@here.example\r\n\r\nwaits\r\n");
    send(&appliance, "box@there.example", b"From: a@other.example\r\n\r\nother\r\n");
    let deferral = appliance.deferral();
    assert_eq!(deferral, "the message waits for its DKIM key: there is no key s1 for here.example");
    assert_eq!(mails(&sink, 1).len(), 1, "mail of other domains is not signed and does not wait");
    let alerts = appliance.api("status")["alerts"].to_string();
    assert!(alerts.contains("there is no key s1 for here.example"), "{alerts}");
    assert_eq!(appliance.counter("mta_dkim_domains_failing"), 1);
    // A file that is no key is told as well.
    let path = volume.key("here.example", "s1");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "no key").unwrap();
    until("the broken key", || {
        let found = appliance.deferral();
        if found.contains("there is no private key in it") { Ok(()) } else { Err(found) }
    });
    volume.make_rsa("here.example", "s1");
    let mails = mails(&sink, 2);
    let signed: Vec<_> =
        mails.iter().filter(|mail| mail.starts_with(b"DKIM-Signature:")).cloned().collect();
    assert_holds(&volume.dkimpy(&signed)[0], "here.example", &[("s1", "rsa-sha256")], &signed[0]);
    assert_eq!(signed.len(), 1);
    assert_eq!(appliance.counter("mta_dkim_domains_failing"), 0);
    // What was said about keys is not the keys.
    let secret = fs::read_to_string(volume.key("here.example", "s1")).unwrap();
    let secret = secret.lines().nth(3).unwrap();
    assert!(!appliance.log().join("\n").contains(secret));
}

#[test]
fn mail_that_cannot_be_signed_is_sent_where_that_is_wanted() {
    let volume = DkimVolume::new();
    let sink = Sink::start("");
    let more = [("MTA_DKIM_DOMAINS", "here.example"), ("MTA_DKIM_FAILURE", "send")];
    let appliance = appliance(&volume, &sink.relay(), &more);
    send(&appliance, "box@there.example", b"From: a@here.example\r\n\r\nunsigned\r\n");
    assert!(mails(&sink, 1)[0].starts_with(b"Received:"));
    assert_eq!(appliance.counter("mta_dkim_unsigned_total"), 1);
    assert!(appliance.log().iter().any(|line| line.contains("sent without a DKIM signature")));
}

#[test]
fn a_conversion_to_seven_bits_is_signed_in_its_new_form() {
    let volume = DkimVolume::with_keys("here.example");
    let hop = SevenBitSink::start();
    let appliance = appliance(&volume, &hop.relay(), &[]);
    let text = "From: a@here.example\r\nMessage-ID: <eight@here.example>\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u{fc}\
        \u{df}e\r\n";
    send(&appliance, "box@there.example", text.as_bytes());
    let mail = hop.mail("eight", 1);
    // The sink stores lines as Unix does, below lines of its own.
    let text = String::from_utf8(mail).unwrap();
    let start = text.find("DKIM-Signature:").unwrap();
    let mail = text[start..].replace("\r\n", "\n").replace('\n', "\r\n").into_bytes();
    assert!(mail.is_ascii());
    assert_holds(&volume.dkimpy(std::slice::from_ref(&mail))[0], "here.example", &BOTH, &mail);
}

#[test]
fn bounces_and_mail_from_before_a_restart_are_signed() {
    let volume = DkimVolume::with_keys(HOSTNAME);
    volume.make_rsa("here.example", "postern");
    let sink = Sink::start("rcpt=550@nowhere.example");
    let domains = format!("{HOSTNAME} here.example");
    let relay = sink.relay();
    let mut appliance = appliance(&volume, &relay, &[("MTA_DKIM_DOMAINS", &domains)]);
    send(&appliance, "x@nowhere.example", b"From: a@here.example\r\n\r\nfails\r\n");
    let bounces = mails(&sink, 1);
    assert_holds(&volume.dkimpy(&bounces)[0], HOSTNAME, &BOTH, &bounces[0]);
    // The next one waits on the volume, and another process sends it.
    let address = sink.address;
    drop(sink);
    send(&appliance, "box@there.example", b"From: a@here.example\r\n\r\nlater\r\n");
    appliance.deferral();
    appliance.stop();
    let sink = Sink::at(address, "");
    appliance.boot();
    let later = mails(&sink, 1);
    let selectors = [("postern", "rsa-sha256")];
    assert_holds(&volume.dkimpy(&later)[0], "here.example", &selectors, &later[0]);
}

#[test]
fn a_mail_with_many_destinations_is_signed_once_and_so_is_its_copy() {
    let volume = DkimVolume::with_keys("here.example");
    let (there, copies) = (next_hop(""), Sink::start(""));
    let domains: Vec<String> = (0..30).map(|number| format!("d{number}")).collect();
    let records = domains.iter().map(|domain| mx(domain, "there", 10));
    let names =
        Names::serve(&records.chain([host("there", there.address.ip())]).collect::<Vec<_>>());
    let root = volume.root().display().to_string();
    let appliance =
        super::mx::appliance(&names, &[("MTA_VOLUME_KEY", &root), ("MTA_CC_MTA", &copies.relay())]);
    let to: Vec<String> = domains.iter().map(|domain| format!("x@{domain}.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let content = b"From: a@here.example\r\n\r\nto many\r\n";
    Client::hello(appliance.smtp).mail("sender@here.example", &to, content);
    let mut found = mails(&there, domains.len());
    found.extend(mails(&copies, 1));
    for (verified, mail) in volume.dkimpy(&found).iter().zip(&found) {
        assert_holds(verified, "here.example", &BOTH, mail);
    }
    let signatures = "mta_dkim_signatures_total{algorithm=\"rsa-sha256\"}";
    assert_eq!(appliance.counter(signatures), 1);
}

#[test]
fn mail_with_a_signature_of_the_same_domain_is_not_signed_again_unless_asked() {
    let volume = DkimVolume::with_keys("here.example");
    let other = DkimVolume::with_keys("here.example");
    let (first, second) = (Sink::start(""), Sink::start(""));
    let before = appliance(&other, &first.relay(), &[]);
    let plain = b"From: a@here.example\r\nSubject: once\r\n\r\nhello\r\n";
    send(&before, "box@there.example", plain);
    let signed = mails(&first, 1).remove(0);
    let mut relay = appliance(&volume, &second.relay(), &[]);
    send(&relay, "box@there.example", &signed);
    let once = mails(&second, 1);
    assert_holds(&other.dkimpy(&once)[0], "here.example", &BOTH, &once[0]);
    relay.stop();
    relay.set(&[("MTA_DKIM_SIGN_AGAIN", "yes")]);
    relay.boot();
    send(&relay, "box@there.example", &signed);
    let twice = mails(&second, 2);
    let twice = volume.dkimpy(&twice).into_iter().map(|found| found.len()).max();
    assert_eq!(twice, Some(4));
}

#[test]
fn a_large_mail_is_signed_in_the_memory_of_a_small_one() {
    let volume = DkimVolume::with_keys("here.example");
    let sink = Sink::start("");
    let appliance = appliance(&volume, &sink.relay(), &[]);
    let mail = |lines: usize| {
        let body = "a line of seventy octets, as most of those of a mail with much data ar\r\n";
        ["From: a@here.example\r\n\r\n", &body.repeat(lines)].concat().into_bytes()
    };
    send(&appliance, "box@there.example", &mail(50_000));
    mails(&sink, 1);
    let before = appliance.memory_peak();
    let large = mail(360_000);
    assert!(large.len() > 25_000_000, "{}", large.len());
    send(&appliance, "box@there.example", &large);
    let found = mails(&sink, 2);
    let grown = appliance.memory_peak().saturating_sub(before);
    println!("{grown} octets more for {} octets, {} in all", large.len(), before + grown);
    assert!(grown < 6 << 20, "{grown} octets more");
    for (found, mail) in volume.dkimpy(&found).iter().zip(&found) {
        assert_holds(found, "here.example", &BOTH, mail);
    }
}

/// `postern dkim` with JSON as its answer, and its exit code.
fn dkim(appliance: &Appliance, arguments: &[&str]) -> (Value, Option<i32>) {
    let all: Vec<&str> = ["dkim", "--json"].iter().chain(arguments).copied().collect();
    let output = appliance.command(&all).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    (json, output.status.code())
}

#[test]
fn keys_are_made_shown_published_and_checked() {
    let (volume, sink) = (DkimVolume::new(), Sink::start(""));
    let (relay, silent) = (sink.relay(), Names::serve(&[]));
    let (domains, servers) = ("here.example, sub.here.example=S2", silent.servers());
    let properties = [
        ("MTA_SMART_RELAY", &*relay),
        ("MTA_DKIM_DOMAINS", domains),
        ("MTA_DKIM_GENERATE", "yes"),
        ("MTA_DNS_SERVERS", &*servers),
    ];
    let mut appliance = Appliance::start(&properties);
    let keys = appliance.path("data/dkim");
    let path = keys.join("postern._domainkey.here.example.pem");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&keys), mode(&path)), (0o700, 0o600));
    let secret = fs::read_to_string(&path).unwrap();

    let (shown, code) = dkim(&appliance, &["show"]);
    assert_eq!(code, Some(0));
    let mut records = vec!["host-record=postern.example,192.0.2.77".to_owned()];
    for key in
        shown["domains"].as_array().unwrap().iter().flat_map(|one| one["keys"].as_array().unwrap())
    {
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        let (selector, domain) = (text("selector"), text("name"));
        let domain = domain.split_once("._domainkey.").unwrap().1.to_owned();
        volume.publish(&domain, &selector, &text("value"));
        // The strings of the zone file are what a name server takes.
        let zone = text("zone");
        let strings: Vec<&str> = zone.split('"').skip(1).step_by(2).collect();
        assert!(strings.iter().all(|string| string.len() <= 255));
        assert_eq!(strings.concat(), text("value"));
        records.push(format!("txt-record={},{}", text("name"), strings.join(",")));
    }
    assert_eq!(records.len(), 5, "{shown}");

    let verdicts = |checked: &Value| -> Vec<String> {
        let domains = checked["domains"].as_array().unwrap();
        let records = domains.iter().flat_map(|domain| domain["records"].as_array().unwrap());
        let all = records.chain(checked["hosts"].as_array().unwrap());
        let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
        all.map(|record| text(record, "kind") + " " + &text(record, "verdict")).collect()
    };
    let (checked, code) = dkim(&appliance, &["check", "here.example"]);
    assert_eq!(code, Some(1));
    let missing = ["dkim missing", "dkim missing", "spf missing", "dmarc missing", "ptr missing"];
    assert_eq!(verdicts(&checked), missing);

    // Published, but for one that is another key.
    records.push("txt-record=here.example,v=spf1 -all".to_owned());
    records.push("txt-record=here.example,something else".to_owned());
    records.push("txt-record=_dmarc.here.example,v=DMARC1; p=none".to_owned());
    let other = "txt-record=S2._domainkey.sub.here.example".to_lowercase();
    for record in records.iter_mut().filter(|record| record.to_lowercase().starts_with(&other)) {
        *record = format!("{other},v=DKIM1; k=rsa; p=AAAA");
    }
    let names = Names::serve(&records);
    let servers = names.servers();
    appliance.stop();
    appliance.set(&[("MTA_DNS_SERVERS", &servers)]);
    appliance.boot();
    let (checked, code) = dkim(&appliance, &["check", "here.example"]);
    let right = ["dkim right", "dkim right", "spf right", "dmarc right", "ptr right"];
    assert_eq!(
        (verdicts(&checked).as_slice(), code),
        (right.map(str::to_owned).as_slice(), Some(0))
    );
    let (checked, code) = dkim(&appliance, &["check"]);
    let found = verdicts(&checked);
    let below = ["dkim wrong", "dkim right", "spf missing", "dmarc right"];
    assert_eq!((&found[4..8], code), (below.map(str::to_owned).as_slice(), Some(1)));

    // The same keys as before the restart, and they sign.
    assert_eq!(fs::read_to_string(&path).unwrap(), secret);
    send(&appliance, "box@there.example", b"From: a@here.example\r\n\r\nhello\r\n");
    let mail = mails(&sink, 1).remove(0);
    assert_holds(&volume.dkimpy(std::slice::from_ref(&mail))[0], "here.example", &BOTH, &mail);
    let line = secret.lines().nth(3).unwrap();
    let told = appliance.log().join("\n") + &shown.to_string();
    assert!(!told.contains(line), "a private key was told");
    let words = appliance.command(&["dkim", "check"]).output().unwrap();
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(words.contains("another key is published"), "{words}");
}

/// The records of keys in `postern dkim --json`, for the name server and for the verifiers.
fn publish(keys: &Value, volume: &DkimVolume, records: &mut Vec<String>) {
    for key in keys.as_array().unwrap() {
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        volume.publish("here.example", &text("selector"), &text("value"));
        let zone = text("zone");
        let strings: Vec<&str> = zone.split('"').skip(1).step_by(2).collect();
        records.push(format!("txt-record={},{}", text("name"), strings.join(",")));
    }
}

#[test]
fn keys_are_changed_without_a_gap() {
    let (volume, sink) = (DkimVolume::new(), Sink::start(""));
    let mut records = Vec::new();
    let names = Names::serve(&records);
    let (relay, servers) = (sink.relay(), names.servers());
    let mut appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &*relay),
        ("MTA_DKIM_DOMAINS", "here.example"),
        ("MTA_DKIM_GENERATE", "yes"),
        ("MTA_DNS_SERVERS", &*servers),
    ]);
    let (shown, _) = dkim(&appliance, &["show"]);
    publish(&shown["domains"][0]["keys"], &volume, &mut records);
    let names = names.serve_instead(&records);
    let (begun, code) = dkim(&appliance, &["rotate", "here.example"]);
    assert_eq!((&begun["step"], code), (&json!("begun"), Some(0)));
    let next = begun["domain"]["next"]["selector"].as_str().unwrap().to_owned();
    assert!(next.starts_with("postern-20"), "{next}");
    let words = appliance.command(&["dkim", "rotate", "here.example"]).output().unwrap();
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(words.contains("here.example signs with postern until DNS has them"), "{words}");
    let (waiting, _) = dkim(&appliance, &["rotate", "here.example"]);
    assert_eq!((&waiting["step"], &waiting["domain"]), (&json!("waiting"), &begun["domain"]));
    send(&appliance, "box@there.example", b"From: a@here.example\r\n\r\none\r\n");
    mails(&sink, 1);

    // The process ends without notice, and goes on with the same.
    appliance.kill();
    appliance.boot();
    let (shown, _) = dkim(&appliance, &["show", "here.example"]);
    assert_eq!(shown["domains"][0]["next"], begun["domain"]["next"]);
    let (checked, code) = dkim(&appliance, &["check", "here.example"]);
    assert_eq!((&checked["domains"][0]["selector"], code), (&json!("postern"), Some(1)));
    publish(&begun["domain"]["next"]["keys"], &volume, &mut records);
    let _names = names.serve_instead(&records);
    let (checked, _) = dkim(&appliance, &["check", "here.example"]);
    let domain = &checked["domains"][0];
    assert_eq!((&domain["selector"], &domain["next"]), (&json!(next), &Value::Null));
    let former = &domain["retired"][0];
    assert_eq!((&former["selector"], &former["removable"]), (&json!("postern"), &json!(false)));
    let words = appliance.command(&["dkim", "show"]).output().unwrap();
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(words.contains("; out of use, must stay until 20"), "{words}");
    send(&appliance, "box@there.example", b"From: a@here.example\r\n\r\ntwo\r\n");
    let found = mails(&sink, 2);
    let mail = |text: &[u8]| found.iter().find(|mail| mail.ends_with(text)).unwrap().clone();
    let (one, two) = (mail(b"one\r\n"), mail(b"two\r\n"));
    assert_holds(&volume.dkimpy(std::slice::from_ref(&one))[0], "here.example", &BOTH, &one);
    let ed25519 = format!("{next}-ed25519");
    let new = [(&*next, "rsa-sha256"), (&*ed25519, "ed25519-sha256")];
    assert_holds(&volume.dkimpy(std::slice::from_ref(&two))[0], "here.example", &new, &two);

    // A second time, at once: the records are missing, which an alert says.
    let (switched, code) = dkim(&appliance, &["rotate", "here.example", "--now"]);
    assert_eq!((&switched["step"], code), (&json!("switched"), Some(0)));
    let _ = dkim(&appliance, &["check", "here.example"]);
    assert_eq!(appliance.counter("mta_dkim_records_failing"), 2);
    let alerts = appliance.api("status")["alerts"].to_string();
    assert!(alerts.contains("DNS does not have the record of 2 DKIM selectors"), "{alerts}");
    let refused = appliance.command(&["dkim", "rotate", "other.example"]).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("'other.example' is no domain that signs with DKIM"), "{words}");
}

#[test]
fn keys_on_the_key_volume_are_the_operators() {
    let volume = DkimVolume::with_keys("here.example");
    let appliance = appliance(&volume, "127.0.0.1:1", &[]);
    let refused = appliance.command(&["dkim", "rotate", "here.example", "--now"]).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_ne!(refused.status.code(), Some(0));
    assert!(words.contains("is on the key volume, which this relay never changes"), "{words}");
}
