//! Outgoing mail with everything at once: eight threads, next hops that defer, limit, drop, drip
//! and die, orders, pauses, imports and viewers, for `POSTERN_STRESS_SECONDS` (45).
//! `scripts/stress.sh 2h` runs it for hours.
//!
//! Each mail is checked: every recipient's server has accepted it, once, or again only where the
//! reply to the content was withheld, or the sender has a bounce. All the time a mail to a working
//! server arrives within [`PROBE_MAX`], and the HTTP server answers within [`ANSWER_MAX`]. The
//! number of processors may be simulated: a library, compiled with cc and loaded into the relay,
//! reports 64.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod hop;
mod processors;
#[path = "../support/mod.rs"]
mod support;

use hop::{MailHost, Nature};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::appliance::Appliance;
use support::client::Client;
use support::program::{need_root, run};

/// How long a mail to a working server may take, on a machine that is also used otherwise.
const PROBE_MAX: Duration = Duration::from_secs(15);

/// How long the server may take.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// How long the rest of the mail may take when all next hops work and nothing is held.
const END_MAX: Duration = Duration::from_secs(90);

/// Waiting mails above which clients pause: the queue should be busy, not long.
const BACKLOG: u64 = 300;

/// The pages that viewers request.
const PAGES: [&str; 14] = [
    "/",
    "/queue",
    "/history",
    "/log",
    "/sessions",
    "/metrics",
    "/status",
    "/api/v1/status",
    "/api/v1/queue?limit=100",
    "/api/v1/destinations",
    "/api/v1/groups?by=reason",
    "/api/v1/rates",
    "/api/v1/history",
    "/api/v1/sessions",
];

fn seconds() -> u64 {
    std::env::var("POSTERN_STRESS_SECONDS").map_or(45, |text| text.parse().expect("seconds"))
}

#[test]
fn everything_at_once_with_eight_threads() {
    stress(&[("MTA_WORKER_THREADS", "8")]);
}

#[test]
fn everything_at_once_on_sixty_four_processors() {
    let library = processors::library();
    // The relay's default number of threads, whatever the run asks for.
    stress(&[
        ("MTA_WORKER_THREADS", "0"),
        ("LD_PRELOAD", library.path().join("processors.so").to_str().unwrap()),
    ]);
}

struct Trial {
    appliance: Appliance,
    hops: Vec<MailHost>,
    /// Accepts the probes and the bounces.
    well: MailHost,
    over: AtomicBool,
    accepted: AtomicUsize,
}

fn stress(properties: &[(&str, &str)]) {
    need_root("next hops are on port 25");
    let natures = [
        Nature::Takes,
        Nature::Defers,
        Nature::Limits,
        Nature::Drops,
        Nature::Drips,
        Nature::Dies,
        Nature::Refuses,
    ];
    let hops = natures.map(MailHost::start).into();
    let mut all = vec![
        ("MTA_MINIMAL_BACKOFF_TIME", "1s"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "2s"),
        ("MTA_SESSION_LIMIT_PER_ADDRESS", "100"),
        // The next hops have addresses of this host, which would be a loop.
        ("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8"),
    ];
    all.extend(properties);
    let (over, accepted) = (AtomicBool::new(false), AtomicUsize::new(0));
    let trial = Trial {
        appliance: Appliance::start(&all),
        hops,
        well: MailHost::start(Nature::Takes),
        over,
        accepted,
    };
    let end = Instant::now() + Duration::from_secs(seconds());
    std::thread::scope(|scope| {
        // A failure of one ends the others, too.
        let run = |work: fn(&Trial, usize), number: usize| {
            let trial = &trial;
            scope.spawn(move || {
                let _over = Over(&trial.over);
                while !trial.over.load(Ordering::Relaxed) && Instant::now() < end {
                    work(trial, number);
                }
            });
        };
        (0..4).for_each(|number| run(Trial::send, number));
        (0..3).for_each(|number| run(Trial::order, number));
        (0..2).for_each(|number| run(Trial::look, number));
        run(Trial::import, 0);
        run(Trial::probe, 0);
    });
    trial.accounts_for_all();
}

/// Ends everything when its thread panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Trial {
    fn number(&self) -> usize {
        self.accepted.fetch_add(1, Ordering::Relaxed)
    }

    /// The two next hops of a mail by its number: each pair occurs.
    fn recipients(&self, number: usize) -> [String; 2] {
        let len = self.hops.len();
        let (first, second) = (number % len, (number + 1 + number / len % (len - 1)) % len);
        [first, second].map(|place| format!("n{number}@[{}]", self.hops[place].address()))
    }

    fn sender(&self, number: usize) -> String {
        format!("s{number}@[{}]", self.well.address())
    }

    fn send(&self, _: usize) {
        if self.json("/api/v1/status")["queue"]["messages"].as_u64().unwrap_or_default() > BACKLOG {
            return std::thread::sleep(Duration::from_millis(200));
        }
        let mut client = Client::hello(self.appliance.smtp);
        for _ in 0..10 {
            let number = self.number();
            let [first, second] = self.recipients(number);
            client.mail(
                &self.sender(number),
                &[&first, &second],
                format!("Subject: {number}\r\n\r\n").as_bytes(),
            );
        }
        client.ask("QUIT", "221 ");
    }

    /// An order of an operator; orders for a destination never apply to that of the probes.
    fn order(&self, number: usize) {
        let hop = &self.hops[fastrand::usize(..self.hops.len())];
        let name = format!("[{}]", hop.address());
        let order = match fastrand::u8(..6) {
            0 => format!(r#"{{"order":"hold","domain":"{name}"}}"#),
            1 => r#"{"order":"release","all":true}"#.to_owned(),
            2 => r#"{"order":"retry","all":true}"#.to_owned(),
            3 => format!(r#"{{"order":"retry","domain":"{name}"}}"#),
            4 => format!(r#"{{"order":"pause","destination":"{name}"}}"#),
            _ => format!(r#"{{"order":"resume","destination":"{name}"}}"#),
        };
        self.give(&order);
        std::thread::sleep(Duration::from_millis(50 * (1 + number as u64)));
    }

    fn look(&self, _: usize) {
        for page in PAGES {
            self.ask("GET", page, "");
        }
    }

    /// Mail from files, by the operator's tool.
    fn import(&self, _: usize) {
        let number = self.number();
        let directory = self.appliance.path(&format!("import-{number}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("mail.eml"), format!("Subject: {number}\r\n\r\n")).unwrap();
        let [first, second] = self.recipients(number);
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command
            .env_clear()
            .env("MTA_RUN_DIR", self.appliance.path("run"))
            .args(["queue", "import"]);
        command.arg(&directory).args([
            "--from",
            &self.sender(number),
            "--to",
            &first,
            "--to",
            &second,
        ]);
        run(&mut command);
        std::thread::sleep(Duration::from_millis(300));
    }

    /// A mail that nothing should delay.
    fn probe(&self, _: usize) {
        let (begun, before) = (Instant::now(), self.well.count("probe"));
        let to = format!("probe@[{}]", self.well.address());
        Client::hello(self.appliance.smtp).mail(
            "probe@here.example",
            &[&to],
            b"Subject: probe\r\n\r\n",
        );
        while self.well.count("probe") == before {
            assert!(begun.elapsed() < PROBE_MAX, "a mail that nothing is in the way of waits");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(500));
    }

    fn accounts_for_all(&self) {
        let accepted = self.accepted.load(Ordering::Relaxed);
        self.hops.iter().for_each(MailHost::mends);
        for hop in &self.hops {
            self.give(&format!(r#"{{"order":"resume","destination":"[{}]"}}"#, hop.address()));
        }
        let begun = Instant::now();
        loop {
            self.give(r#"{"order":"release","all":true}"#);
            self.give(r#"{"order":"retry","all":true}"#);
            let left = self.json("/api/v1/status")["queue"]["messages"].as_u64().unwrap();
            if left == 0 {
                break;
            }
            let queue = || {
                self.ask("GET", "/api/v1/queue?limit=5", "")
                    + &self.ask("GET", "/api/v1/destinations", "")
            };
            assert!(begun.elapsed() < END_MAX, "{left} mails wait for ever: {}", queue());
            std::thread::sleep(Duration::from_millis(500));
        }
        let mut lost = BTreeSet::new();
        for number in 0..accepted {
            for to in self.recipients(number) {
                let (name, address) = to.strip_suffix(']').unwrap().split_once("@[").unwrap();
                let hop = self.hops.iter().find(|hop| hop.address() == address).unwrap();
                let (taken, unanswered) = (hop.count(name), hop.unanswered(name));
                let bounced =
                    hop.nature == Nature::Refuses && self.well.count(&format!("s{number}")) > 0;
                if taken == 0 && !bounced {
                    lost.insert(to.clone());
                }
                assert!(taken <= 1 + unanswered, "{to} ({:?}) came {taken} times", hop.nature);
            }
        }
        assert!(lost.is_empty(), "lost: {lost:?}");
        eprintln!("{accepted} mails, all accounted for; {} probes", self.well.count("probe"));
    }

    fn give(&self, order: &str) {
        self.ask("POST", "/api/v1/orders", order);
    }

    fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.ask("GET", path, "")).unwrap()
    }

    /// Sends a request to the control socket, where every client is trusted.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let begun = Instant::now();
        let mut stream =
            UnixStream::connect(self.appliance.path("run").join("control.sock")).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: \
            application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        assert!(
            read.is_ok() && begun.elapsed() < ANSWER_MAX,
            "{method} {path} {body} took {:?}: {read:?}",
            begun.elapsed()
        );
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        body.to_owned()
    }
}
