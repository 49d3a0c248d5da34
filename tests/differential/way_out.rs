//! All mails for difficult next hops. Each domain has its next hop on port 25 of an address of its
//! own, one for Postfix, which finds it by a transport map, and one for this relay, which finds it
//! by DNS.

use crate::compare::{between, written};
use crate::hop::{GOOD, MailHost};
use crate::input::{Input, Who};
use crate::inputs::way_out::{Mail, all, hops};
use crate::judge::judge;
use crate::session::Heard;
use crate::support::appliance::Appliance;
use crate::support::names::Names;
use crate::support::patience::until_within;
use crate::support::postfix::Postfix;
use crate::support::program::own_address;
use crate::way_in::{PATIENCE, SETTINGS, postfix_settings, sessions};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The listed differences.
pub const TABLE: &str = include_str!("way_out.txt");

/// A domain whose mail the hop `ascii` accepts, in the forms for Postfix and DNS.
const BOOKS: [&str; 2] = ["b\u{fc}cher.example", "xn--bcher-kva.example"];

/// The next hops of one relay, by name; `home` accepts bounces.
fn start() -> BTreeMap<&'static str, MailHost> {
    let at = || SocketAddr::from((own_address(), 25));
    hops()
        .into_iter()
        .chain([("home", GOOD)])
        .map(|(name, nature)| (name, MailHost::start(at(), nature)))
        .collect()
}

fn session(mail: &Mail) -> Input {
    let mut input = Input::new(Who::Own, mail.name).greeted();
    // A client that sends 8 bits announces it.
    let eight_bit = if mail.content.is_ascii() { "" } else { " BODY=8BITMIME" };
    input = input.say(format!("MAIL FROM:<sender@home.example>{}{eight_bit}", mail.parameters));
    for recipient in recipients(mail) {
        input = input.say(format!("RCPT TO:<{recipient}>"));
    }
    input.content(&mail.content)
}

fn recipients(mail: &Mail) -> Vec<String> {
    let whole = |name: &&str| {
        if name.contains('@') { (*name).to_owned() } else { format!("{name}@{}.example", mail.hop) }
    };
    mail.recipients.iter().map(whole).collect()
}

/// The status of each recipient in the log, by queue id.
type Fates = BTreeMap<String, BTreeMap<String, String>>;

/// `ID: to=<address>, …, dsn=5.1.1, status=bounced (…)`.
fn fates_of_postfix(log: &str) -> Fates {
    let mut fates = Fates::new();
    for line in log.lines().filter(|line| line.contains(" status=")) {
        let id =
            line.split("]: ").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
        note(&mut fates, id, line);
    }
    fates
}

/// `delivery queue_id=ID … to=<address> … status=sent … dsn=2.0.0 …`.
fn fates_of_ours(log: &[String]) -> Fates {
    let mut fates = Fates::new();
    for line in log.iter().filter(|line| line.contains(" delivery ") && line.contains(" status=")) {
        let id = word(line, "queue_id=").unwrap_or_default();
        note(&mut fates, id, line);
    }
    fates
}

fn note(fates: &mut Fates, id: &str, line: &str) {
    let (Some(to), Some(status), Some(dsn)) =
        (word(line, "to=<"), word(line, "status="), word(line, "dsn="))
    else {
        return;
    };
    let fate = format!("{status} {dsn}");
    fates.entry(id.to_owned()).or_default().entry(to.to_lowercase()).or_insert(fate);
}

fn word<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    let rest = line.split_once(&format!(" {before}"))?.1;
    rest.split([' ', ',', '>']).next()
}

/// The results of one relay's mails: the status of each recipient, and what its hop got.
fn fates(
    mails: &[Mail],
    heard: &[Vec<Heard>],
    hops: &BTreeMap<&str, MailHost>,
    look: impl Fn() -> Fates,
) -> Vec<(Vec<String>, Vec<String>)> {
    let ids: Vec<&str> = heard
        .iter()
        .map(|heard| heard.iter().find_map(Heard::queued).unwrap_or_default())
        .collect();
    let all = until_within(PATIENCE, "all mails were tried", || {
        let fates = look();
        let tried = |(id, mail): (&&str, &Mail)| {
            fates.get(*id).map_or(0, BTreeMap::len) == mail.recipients.len()
        };
        let missing: Vec<&str> =
            ids.iter().zip(mails).filter(|pair| !tried(*pair)).map(|(_, mail)| mail.name).collect();
        if missing.is_empty() { Ok(fates) } else { Err(format!("not yet: {missing:?}")) }
    });
    let outcome = |(id, mail): (&&str, &Mail)| {
        let fates = all[*id].iter().map(|(to, fate)| format!("{to}: {fate}")).collect();
        let came =
            hops[mail.hop].mails().into_iter().filter(|came| came.id().as_deref() == Some(*id));
        (fates, came.flat_map(|came| written(&came)).collect())
    };
    ids.iter().zip(mails).map(outcome).collect()
}

#[test]
fn the_same_mails_come_to_the_same_at_difficult_next_hops() {
    let (their_hops, our_hops) = (start(), start());
    let transports: Vec<String> = their_hops
        .iter()
        .map(|(name, hop)| format!("{name}.example=smtp:[{}]:25", hop.address.ip()))
        .collect();
    let books = format!("{}=smtp:[{}]:25", BOOKS[0], their_hops["ascii"].address.ip());
    // On a reused connection, Postfix sends mail that it would bounce for lack of SMTPUTF8 on a new
    // one.
    let fresh = "smtp_connection_cache_on_demand = no";
    let settings = format!(
        "{}{fresh}\ntransport_maps = inline:{{ {}, {books} }}\n",
        postfix_settings(),
        transports.join(", ")
    );
    let mut records = vec![format!("mx-host={},ascii.example,10", BOOKS[1])];
    for (name, hop) in &our_hops {
        records.push(format!("host-record={name}.example,{}", hop.address.ip()));
        records.push(format!("mx-host={name}.example,{name}.example,10"));
    }
    let names = Names::serve(&records);
    let servers = names.servers();
    // The next hops have addresses of this host, which would be a loop.
    let hosts = [("MTA_DNS_SERVERS", servers.as_str()), ("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8")];
    let appliance = Appliance::start(&[&SETTINGS[..], &hosts].concat());
    let postfix = Postfix::sender_with(their_hops["home"].address, &settings);
    let mails = all();
    let inputs: Vec<Input> = mails.iter().map(session).collect();
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| {
            fates(&mails, &sessions(&inputs, postfix.address), &their_hops, || {
                fates_of_postfix(&postfix.log())
            })
        });
        let ours = fates(&mails, &sessions(&inputs, appliance.smtp), &our_hops, || {
            fates_of_ours(&appliance.log())
        });
        (theirs.join().unwrap(), ours)
    });
    let found: Vec<(&str, Vec<String>)> = mails
        .iter()
        .zip(theirs.iter().zip(&ours))
        .map(|(mail, ((their_fates, their_mail), (our_fates, our_mail)))| {
            let mut lines = between(their_fates, our_fates);
            // Mail that one of them did not send cannot be compared.
            if !their_mail.is_empty() && !our_mail.is_empty() {
                lines.extend(between(their_mail, our_mail));
            }
            (mail.name, lines)
        })
        .collect();
    judge(&postfix.version(), TABLE, &found);
}
