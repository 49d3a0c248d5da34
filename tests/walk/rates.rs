//! `destination_rates`: smtp-sink of Postfix at two domains stores each mail in a file, whose time
//! says when it came. Eight threads move the mail.

use super::mx::{appliance, host, mx, send};
use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::counted_host::CountedHost;
use crate::support::names::Names;
use crate::support::patience::{until, until_within};
use crate::support::program::{Program, find, need_root, open_directory, own_address};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// Between the moment at which a mail may go and its file there is more for one mail than for
/// another: opening a connection, above all.
const UNEVEN: Duration = Duration::from_millis(700);

/// smtp-sink at port 25 of an address of its own.
struct Counted {
    _program: Program,
    directory: TempDir,
    address: SocketAddr,
}

impl Counted {
    fn start() -> Self {
        need_root("MX records lead to port 25");
        let (directory, address) = (open_directory(), SocketAddr::from((own_address(), 25)));
        let mut command = Command::new(find("smtp-sink"));
        let mails = directory.path().join("mail-");
        command.args(["-u", "root", "-d"]).arg(mails).args([&address.to_string(), "200"]);
        let program = Program::start(directory.path(), "smtp-sink", command).listening(address);
        Self { _program: program, directory, address }
    }

    /// When each mail came, with its file, the first one first.
    fn mails(&self) -> Vec<(SystemTime, PathBuf)> {
        let files = fs::read_dir(self.directory.path()).unwrap().flatten();
        let mails = files.filter(|file| file.file_name().to_string_lossy().starts_with("mail-"));
        let mut mails: Vec<_> =
            mails.map(|file| (file.metadata().unwrap().modified().unwrap(), file.path())).collect();
        mails.sort();
        mails
    }

    /// When each mail came.
    fn arrivals(&self) -> Vec<SystemTime> {
        self.mails().into_iter().map(|(time, _)| time).collect()
    }

    /// How many mails came before that for a recipient.
    fn place_of(&self, recipient: &str) -> usize {
        let is_for =
            |file: &PathBuf| String::from_utf8_lossy(&fs::read(file).unwrap()).contains(recipient);
        self.mails().iter().position(|(_, file)| is_for(file)).expect("it came")
    }

    fn until_mails(&self, count: usize, patience: Duration) {
        until_within(patience, &format!("{count} mails"), || match self.arrivals().len() {
            found if found == count => Ok(()),
            found => Err(format!("{found} mails")),
        });
    }

    /// No window of this time has more than `count` mails.
    fn expect_windows(&self, count: usize, window: Duration) {
        let arrivals = self.arrivals();
        for pair in arrivals.windows(count + 1) {
            let apart = pair[count].duration_since(pair[0]).unwrap();
            assert!(apart + UNEVEN >= window, "{} mails within {apart:?}", count + 1);
        }
    }
}

fn two_domains(rates: &str) -> (Counted, Counted, Names, Appliance) {
    let (limited, free) = (Counted::start(), Counted::start());
    let names = Names::serve(&[
        host("limited-mx", limited.address.ip()),
        host("free-mx", free.address.ip()),
        mx("limited", "limited-mx", 10),
        mx("free", "free-mx", 10),
    ]);
    let properties = [("MTA_DESTINATION_RATES", rates), ("MTA_WORKER_THREADS", "8")];
    let appliance = appliance(&names, &properties);
    (limited, free, names, appliance)
}

#[test]
fn mail_beyond_a_rate_waits_says_so_and_goes_by_itself() {
    let (limited, free, _names, appliance) = two_domains("limited.example=20/10s");
    for number in 0..45 {
        send(&appliance, "bulk@here.example", &format!("box{number}@limited.example"));
        send(&appliance, "bulk@here.example", &format!("box{number}@free.example"));
    }
    // Another sender is served in turn although much was there before.
    send(&appliance, "anna@here.example", "anna@limited.example");
    free.until_mails(45, Duration::from_secs(9));
    limited.until_mails(20, Duration::from_secs(9));
    let words = "rate 20/10s of destination_rates: next at ";
    let destination = until("the API says why", || {
        let told = appliance.api("destinations");
        let all = told["destinations"].as_array().unwrap();
        let found = all.iter().find(|one| one["name"] == "limited.example").cloned();
        match found {
            Some(found) if found["state"] == "rate-limited" => Ok(found),
            _ => Err(told.to_string()),
        }
    });
    assert!(destination["rate_limit"].as_str().unwrap().starts_with(words), "{destination}");
    assert_eq!(
        (&destination["deferred"], &destination["unreachable_since"], &destination["last_error"]),
        (&0.into(), &serde_json::Value::Null, &"".into())
    );
    let told = appliance.queue_in_words(&["destinations"]);
    assert!(told.contains(words), "{told}");
    for page in ["/destinations", "/queue"] {
        let page = appliance.get(page);
        assert!(page.contains(words), "{page}");
    }
    let waiting = appliance.messages();
    let mail = waiting.first().expect("mail waits").to_string();
    assert!(mail.contains(words), "{mail}");
    until("the metric", || match appliance.counter("mta_rate_limited_destinations") {
        1 => Ok(()),
        other => Err(other.to_string()),
    });
    until("the line in the log", || {
        let log = appliance.log();
        let line = log.iter().find(|line| line.contains("rate-limited")).cloned();
        line.filter(|line| line.contains("limited.example") && line.contains("20/10s"))
            .ok_or_else(|| format!("{:?}", log.last()))
    });
    limited.until_mails(46, Duration::from_secs(30));
    let place = limited.place_of("anna@limited.example");
    assert!(place < 40, "behind the mail of another sender, as {place}");
    limited.expect_windows(20, Duration::from_secs(10));
    appliance.until_empty();
    let retries = appliance.counter("mta_deferred_total");
    assert_eq!(retries, 0, "waiting is no attempt");
}

/// The second mail goes when there is a permit, while the first one is at its host still.
#[test]
fn a_slow_host_does_not_keep_the_next_permit_from_being_used() {
    need_root("MX records lead to port 25");
    let host_address = SocketAddr::from((own_address(), 25));
    let slow = CountedHost::start(host_address, 10, Duration::from_secs(8));
    slow.open();
    let names = Names::serve(&[host("slow-mx", host_address.ip()), mx("slow", "slow-mx", 10)]);
    let appliance = appliance(&names, &[("MTA_DESTINATION_RATES", "*=1/s")]);
    let begun = Instant::now();
    for number in 0..4 {
        send(&appliance, "bulk@here.example", &format!("box{number}@slow.example"));
    }
    until_within(Duration::from_secs(20), "four mails", || match slow.seen().mails {
        4 => Ok(()),
        seen => Err(format!("{seen} mails")),
    });
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn an_upstream_gets_no_more_than_its_properties_say() {
    let upstream = Counted::start();
    let relay = upstream.address.to_string();
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", relay.as_str()),
        ("MTA_SMART_RELAY_RATE", "20/10s"),
        ("MTA_SMART_RELAY_MAILS_PER_CONNECTION", "5"),
        ("MTA_SMART_RELAY_RECIPIENT_LIMIT", "3"),
        ("MTA_WORKER_THREADS", "8"),
    ]);
    let many: Vec<String> = (0..8).map(|number| format!("many{number}@there.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut client = Client::hello(appliance.smtp);
    client.mail("bulk@here.example", &many, b"Subject: many\r\n\r\n");
    upstream.until_mails(3, Duration::from_secs(9));
    for number in 0..40 {
        send(&appliance, "bulk@here.example", &format!("box{number}@there{number}.example"));
    }
    upstream.until_mails(20, Duration::from_secs(9));
    let words = "rate 20/10s of smart_relay_rate: next at ";
    until("the API says why", || {
        let told = appliance.api("destinations");
        let found = &told["destinations"][0];
        let is_told = found["rate_limit"].as_str().is_some_and(|text| text.starts_with(words));
        if is_told && found["state"] == "rate-limited" { Ok(()) } else { Err(told.to_string()) }
    });
    assert_eq!(appliance.counter("mta_destinations_unreachable"), 0);
    assert_eq!(appliance.api("status")["alerts"], serde_json::json!([]));
    upstream.until_mails(43, Duration::from_secs(30));
    upstream.expect_windows(20, Duration::from_secs(10));
    let recipients = |(_, file): (_, PathBuf)| {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        text.lines().filter(|line| line.starts_with("X-Rcpt-Args:")).count()
    };
    let recipients: Vec<usize> = upstream.mails().into_iter().map(recipients).collect();
    assert!(recipients.iter().all(|count| *count <= 3), "{recipients:?}");
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_deferred_total"), 0, "waiting is no attempt");
    let connections = appliance.counter(r#"mta_connections_out_total{status="established"}"#);
    assert!(connections >= 9, "{connections} connections for 43 mails");
}

#[test]
fn a_rate_of_some_in_a_second_holds_with_eight_threads() {
    let (limited, free, _names, appliance) = two_domains("*=10/s");
    appliance.expect_threads(8);
    for number in 0..80 {
        send(&appliance, "bulk@here.example", &format!("box{number}@limited.example"));
        send(&appliance, "bulk@here.example", &format!("box{number}@free.example"));
    }
    for host in [&limited, &free] {
        host.until_mails(80, Duration::from_secs(20));
        host.expect_windows(10, Duration::from_secs(1));
        let arrivals = host.arrivals();
        let took = arrivals[79].duration_since(arrivals[0]).unwrap();
        assert!(took >= Duration::from_millis(6300), "{took:?}");
        eprintln!("80 mails at 10/s took {took:?}");
    }
}
