//! The example grid with a real engine: the images of this repository in containers.
//!
//! Needs a Docker engine that answers, a client that can build with BuildKit, and Compose (the
//! plug-in, or docker-compose 1.29); says so and fails when one is missing. `.ci/run prepare`
//! installs all of it. Each test has containers, networks, volumes and image names of its own, uses
//! free ports, prints what it waits for, and removes everything at the end. On a failure it prints
//! the logs of all containers first.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what is wrong by ending

mod boot;
mod engine;
mod examples;
mod http;
mod resources;

use engine::{Engine, Grid, Undo};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HOSTNAME: &str = "mta.example.org";
const COUNTERS: [&str; 3] =
    ["mta_mqueue_messages", "mta_mqueue_kbytes", "mta_smtp_active_sessions"];

/// Asks repeatedly until there is an answer, and prints every ten seconds what it is waiting for.
///
/// `ask` gives the answer, or why it is not there yet; the last such reason is part of the failure.
fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    let mut told = Duration::ZERO;
    loop {
        let why = match ask() {
            Ok(answer) => {
                eprintln!("grid: {what}: yes, after {:.1} s", began.elapsed().as_secs_f64());
                return answer;
            }
            Err(why) => why,
        };
        assert!(
            began.elapsed() < limit,
            "gave up after {limit:?} waiting for: {what}\nthe last answer: {why}"
        );
        if began.elapsed() >= told + Duration::from_secs(10) {
            told = began.elapsed();
            eprintln!("grid: still waiting for: {what} ({} s): {why}", told.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200)); // the pace of asking, not a guess at how long it takes
    }
}

/// The mails in mx: Message-ID to how many times it has arrived.
fn arrived(mx: u16) -> Result<BTreeMap<String, usize>, String> {
    let page = http::get_json(mx, "/api/mail")?;
    let mut found = BTreeMap::new();
    for mail in page["mail"].as_array().ok_or("no list of mail")? {
        *found.entry(mail["message_id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    Ok(found)
}

/// The Message-IDs of the mails that the relay answered with 250, as recorded by the web
/// application.
fn accepted(webapp: u16) -> Result<Vec<String>, String> {
    let log = http::get_json(webapp, "/api/log")?;
    let notes = log.as_array().ok_or("the log is not a list")?;
    Ok(notes
        .iter()
        .filter(|note| note["ok"] == true)
        .filter_map(|note| note["message_id"].as_str())
        .map(str::to_owned)
        .collect())
}

/// Why the web application's mails are not sent, as the relay reports it.
fn last_answer(webapp: u16) -> String {
    match http::get_json(webapp, "/api/log") {
        Ok(log) => log[0]["answer"].as_str().unwrap_or("nothing sent yet").to_owned(),
        Err(why) => why,
    }
}

/// Sends one mail through the web application's form. The application answers 200 when the relay
/// has answered 250.
fn send_by_form(webapp: u16, subject: &str) {
    let body = format!("to=someone%40example.org&subject={subject}&text=Hello+from+the+grid+test");
    let (status, page) = http::post_form(webapp, "/send", &body).unwrap();
    let shown = page
        .split("role=\"status\">")
        .nth(1)
        .and_then(|rest| rest.split("</p>").next())
        .unwrap_or(&page);
    assert_eq!(status, 200, "the mail {subject} was not accepted: {shown}");
}

/// The values that Prometheus has for an expression, by the label `job`.
fn prometheus(port: u16, query: &str) -> Result<BTreeMap<String, f64>, String> {
    let answer = http::get_json(port, &format!("/api/v1/query?query={query}"))?;
    let rows = answer["data"]["result"]
        .as_array()
        .ok_or_else(|| format!("unexpected answer: {answer}"))?;
    rows.iter()
        .map(|row| {
            let value = row["value"][1]
                .as_str()
                .and_then(|v| v.parse().ok())
                .ok_or_else(|| format!("no value in {row}"))?;
            Ok((row["metric"]["job"].as_str().unwrap_or_default().to_owned(), value))
        })
        .collect()
}

/// The value of a counter that the appliance has pushed, straight from the Pushgateway.
fn pushed(port: u16, counter: &str) -> Result<f64, String> {
    let text = http::get_text(port, "/metrics")?;
    text.lines()
        .filter(|line| line.starts_with(&format!("{counter}{{")))
        .find(|line| {
            line.contains("job=\"mta\"") && line.contains(&format!("instance=\"{HOSTNAME}\""))
        })
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .ok_or_else(|| format!("the Pushgateway has no {counter} of {HOSTNAME}"))
}

/// The value of a counter without labels, from the appliance itself.
fn metric(port: u16, counter: &str) -> Result<f64, String> {
    let text = http::get_text(port, "/metrics")?;
    let value = text.lines().find_map(|line| line.strip_prefix(counter)?.trim().parse().ok());
    value.ok_or_else(|| format!("there is no {counter} in /metrics"))
}

/// One SMTP dialogue from this machine: sends each line after the reply to the one before, returns
/// all final reply lines.
fn dialogue(port: u16, lines: &[&str]) -> Vec<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut replies = Vec::new();
    let mut writer = stream;
    for line in std::iter::once(None).chain(lines.iter().map(Some)) {
        if let Some(line) = line {
            write!(writer, "{line}\r\n").unwrap();
        }
        loop {
            let mut reply = String::new();
            assert_ne!(
                reader.read_line(&mut reply).unwrap(),
                0,
                "the relay hung up; until then: {replies:?}"
            );
            if reply.as_bytes().get(3) != Some(&b'-') {
                replies.push(reply.trim_end().to_owned());
                break;
            }
        }
    }
    replies
}

#[test]
fn mail_counters_and_a_killed_container() {
    let engine = Engine::find();
    let grid = Grid::new(&engine, "flow");
    grid.compose(&["up", "--detach", "--build"]);
    let (webapp, mx) = (grid.port("webapp", 8080), grid.port("mx", 8025));
    let (prometheus_port, pushgateway) = (grid.port("mon", 9090), grid.port("mon", 9091));
    grid.container("mta").wait_healthy();

    // A mail from the timer: webapp -> aux -> mta -> net -> mx.
    let first = wait_for("a mail of webapp in mx", Duration::from_secs(60), || {
        let here = arrived(mx)?;
        accepted(webapp)?.into_iter().find(|id| here.contains_key(id)).ok_or_else(|| {
            format!("{} mails in mx; webapp says: {}", here.len(), last_answer(webapp))
        })
    });
    let list = http::get_json(mx, "/api/mail").unwrap();
    let mail = list["mail"]
        .as_array()
        .unwrap()
        .iter()
        .find(|mail| mail["message_id"] == first.as_str())
        .unwrap();
    let mail = http::get_json(mx, &format!("/api/mail/{}", mail["id"].as_str().unwrap())).unwrap();
    assert_eq!(mail["sender"], "<webapp@example.com>");
    assert_eq!(mail["recipient"], "someone@example.org");
    let received: Vec<&str> =
        mail["received"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(received[0].contains("by mx.example.org"), "the last hop is not mx: {received:?}");
    assert!(
        received[1].contains(&format!("by {HOSTNAME}")),
        "the mail did not come by the appliance: {received:?}"
    );

    // The counters of the group MTA, pushed through terminal mon; a scrape of the appliance gives
    // the same. Prometheus has each once, so that sum() is correct.
    for counter in COUNTERS {
        wait_for(&format!("{counter} in the Pushgateway"), Duration::from_secs(60), || {
            pushed(pushgateway, counter)
        });
        wait_for(&format!("{counter} in Prometheus"), Duration::from_secs(60), || {
            let values = prometheus(prometheus_port, counter)?;
            if values.keys().eq(["mta"]) { Ok(()) } else { Err(format!("{values:?}")) }
        });
        metric(grid.port("mta", 80), counter).unwrap();
    }

    // The shipped alert rules are loaded, valid, and not firing.
    let shipped = include_str!("../../appliance/monitor/rules.yml").matches("- alert: ").count();
    wait_for("the alert rules in Prometheus", Duration::from_secs(60), || {
        let answer = http::get_json(prometheus_port, "/api/v1/rules")?;
        let rules = answer["data"]["groups"][0]["rules"]
            .as_array()
            .ok_or_else(|| format!("no rules: {answer}"))?;
        let sound = rules
            .iter()
            .filter(|rule| rule["health"] == "ok" && rule["state"] == "inactive")
            .count();
        if sound == shipped { Ok(()) } else { Err(format!("{sound} of {shipped}: {answer}")) }
    });

    // The health checks so far were no SMTP sessions: there was one for each mail, and no other.
    let sessions = metric(grid.port("mta", 80), "mta_smtp_sessions_total").unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();

    // The next hop is stopped; mail is accepted all the same, and waits.
    grid.compose(&["stop", "mx"]);
    let mut waiting: Vec<String> = (0..5).map(|number| format!("queued-{number}")).collect();
    for subject in &waiting {
        send_by_form(webapp, subject);
    }
    wait_for(
        "at least five messages in the queue, seen by Prometheus",
        Duration::from_secs(60),
        || {
            let values = prometheus(prometheus_port, "mta_mqueue_messages")?;
            if values.get("mta").is_some_and(|&value| value >= 5.0) {
                Ok(())
            } else {
                Err(format!("{values:?}"))
            }
        },
    );

    let log = http::get_json(webapp, "/api/log").unwrap();
    let mails = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|note| note["ok"] == true && note["time"].as_f64().unwrap() <= now)
        .count();
    assert!(sessions >= 1.0 && sessions <= mails as f64, "{sessions} sessions for {mails} mails");

    // The container is killed, removed, and created again: only the volume is the same.
    let old = grid.container("mta");
    engine.docker(&["kill", "--signal", "KILL", &old.id]);
    engine.docker(&["rm", "--force", "--volumes", &old.id]);
    grid.compose(&["up", "--detach", "--no-build", "--no-deps", "mta"]);
    let new = grid.container("mta");
    assert_ne!(old.id, new.id, "compose did not make a new container");
    new.wait_healthy();
    let queue = new.exec(&["postern", "queue", "list", "--json"]);
    // One line for each message; the five sent by hand are among them.
    let listed: Vec<Value> = queue
        .lines()
        .map(|line| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("`queue list --json`: {error}: {line}"))
        })
        .collect();
    assert!(listed.len() >= 5, "the killed container's queue is not all there: {queue}");
    // One more, to see that the new one accepts mail.
    waiting.push("after-the-kill".to_owned());
    send_by_form(webapp, "after-the-kill");

    // The next hop is started again. The next attempt is minutes away; the operator retries now.
    grid.compose(&["start", "mx"]);
    grid.container("mx").wait_healthy();
    let mx = grid.port("mx", 8025); // a restarted container gets another free port
    let promised = accepted(webapp).unwrap();
    assert!(promised.len() >= waiting.len());
    new.exec(&["postern", "queue", "retry", "--all", "--yes"]);
    let here = wait_for("every mail that was answered 250 in mx", Duration::from_secs(120), || {
        let here = arrived(mx)?;
        let absent = promised.iter().filter(|id| !here.contains_key(*id)).count();
        if absent == 0 {
            Ok(here)
        } else {
            Err(format!("{absent} of {} have not arrived", promised.len()))
        }
    });
    // The relay was killed while the next hop was down, so no final reply was in flight: exactly
    // once.
    for id in &promised {
        assert_eq!(here[id], 1, "{id} has arrived {} times", here[id]);
    }
    let list = http::get_json(mx, "/api/mail").unwrap();
    for subject in &waiting {
        let times = list["mail"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|mail| mail["subject"] == subject.as_str())
            .count();
        assert_eq!(times, 1, "the mail {subject} has arrived {times} times");
    }

    // A clean stop: the exit code has the signal, and the Pushgateway's group is deleted.
    grid.compose(&["stop", "mta"]);
    let code = engine.docker(&["inspect", "--format", "{{.State.ExitCode}}", &new.id]);
    assert_eq!(
        code, "143",
        "a clean stop ends with 128 + SIGTERM; 137 means that it took too long and was killed"
    );
    wait_for("the Pushgateway to forget the stopped appliance", Duration::from_secs(20), || {
        pushed(pushgateway, COUNTERS[0])
            .map_or(Ok(()), |value| Err(format!("{} is still {value}", COUNTERS[0])))
    });
}

#[test]
fn any_uid_on_a_read_only_root_without_capabilities() {
    let engine = Engine::find();
    let name = engine::unique("anyuid");
    let undo = Undo::new(&engine);

    let subnet = engine.free_subnet();
    let network = undo.network(&name, &subnet);
    let volume = undo.volume(&name);
    let [mta_image, mx_image, webapp_image] =
        [("mta", "Dockerfile"), ("mx", "grid/mx/Dockerfile"), ("webapp", "grid/webapp/Dockerfile")]
            .map(|(part, file)| undo.image(&format!("{name}-{part}"), file));

    let mx = undo.run(
        "mx",
        &[
            "--network",
            &network,
            "--network-alias",
            "mx",
            "--publish",
            "127.0.0.1::8025",
            &mx_image,
        ],
    );
    let relay = [
        "--network",
        &network,
        "--network-alias",
        "aux",
        "--publish",
        "127.0.0.1::25",
        "--user",
        "12345",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--volume",
        &format!("{volume}:/data"),
        "--env",
        "MTA_SMART_RELAY=[mx]:25",
        // The first mail may come before mx listens, and then all mail waits as long as this.
        "--env",
        "MTA_MINIMAL_BACKOFF_TIME=5s",
        "--env",
        &format!("MTA_HOSTNAME={HOSTNAME}"),
        "--env",
        &format!("MTA_SMTPD_TRUSTED_NETWORKS={subnet}"),
        &mta_image,
    ];
    let mta = undo.run("mta", &relay);
    let webapp = undo.run(
        "webapp",
        &[
            "--network",
            &network,
            "--publish",
            "127.0.0.1::8080",
            "--env",
            "WEBAPP_INTERVAL=2",
            &webapp_image,
        ],
    );
    mta.wait_healthy();

    let status = mta.exec(&["cat", "/proc/1/status"]);
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
    };
    assert!(field("Uid:").starts_with("12345"), "process 1 runs as another uid: {}", field("Uid:"));
    assert_eq!(field("CapEff:"), "0000000000000000", "process 1 has capabilities");

    let (mx, webapp) = (mx.port(8025), webapp.port(8080));
    wait_for("a mail of webapp in mx", Duration::from_secs(60), || {
        let here = arrived(mx)?;
        accepted(webapp)?.into_iter().find(|id| here.contains_key(id)).ok_or_else(|| {
            format!("{} mails in mx; webapp says: {}", here.len(), last_answer(webapp))
        })
    });

    // External clients of the published port have the gateway's address, which is in the trusted
    // network. It must not be trusted for that: everybody would be.
    let replies = dialogue(
        mta.port(25),
        &[
            "EHLO stranger.example.com",
            "MAIL FROM:<a@example.com>",
            "RCPT TO:<b@example.org>",
            "QUIT",
        ],
    );
    assert!(replies[0].starts_with("220 "), "{replies:?}");
    assert!(replies[3].starts_with("554 5.7.1 "), "a stranger may relay: {replies:?}");

    // The same volume, the next container: files of one uid, read by the same uid.
    let again = engine.docker(&["restart", "--time", "40", &mta.id]);
    assert_eq!(again, mta.id);
    mta.wait_healthy();
}
