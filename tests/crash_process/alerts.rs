//! The two alerts of the founding document, with a real file system that another program fills and
//! empties.

use crate::appliance::Appliance;
use crate::load::Load;
use crate::next_hop::{Mood, NextHop};
use crate::until;
use crate::volume::SmallVolume;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const BELOW_5: &str = "Data volume has less than 5% of free disk space";
const BELOW_1: &str = "Data volume has less than 1% of free disk space";
const ROOM: &str = "the data volume has free space again";

/// Long enough for two checks of the volume.
const TWO_LOOKS: Duration = Duration::from_millis(4_200);
/// Mails that wait in the queue.
const MAILS: u64 = 20;

#[test]
fn each_alert_is_told_once_until_there_is_room_again() {
    let volume = SmallVolume::mount(64 << 20);
    let hop = NextHop::start();
    hop.be(Mood::Busy);
    let mut appliance = Appliance::start(hop.address, Some(&volume.path));
    let mut load = Load::new(appliance.smtp());
    load.start(2);
    load.wait_accepted(MAILS);
    load.stop();
    assert!(told(&appliance).is_empty(), "{:?}", told(&appliance));
    let declared: Vec<_> =
        postern::appliance::class::class().alert.iter().map(|alert| alert.line.as_str()).collect();
    assert_eq!(declared, [BELOW_5, BELOW_1]);

    let mut expected: Vec<(&str, &str)> = Vec::new();
    let mut step = |thousandths: u64, more: &[(&'static str, &'static str)], answer: &str| {
        volume.leave(thousandths);
        expected.extend(more);
        until(&format!("with {thousandths}/1000 free: {expected:?}"), || {
            told(&appliance) == expected
        });
        std::thread::sleep(TWO_LOOKS);
        assert_eq!(told(&appliance), expected, "with {thousandths}/1000 free");
        let heard = answer_to_mail(appliance.smtp());
        assert!(heard.starts_with(answer), "with {thousandths}/1000 free: {heard}");
    };
    step(40, &[("WARN", BELOW_5)], "250 ");
    // Above the limit, but not by enough; and below it again.
    step(55, &[], "250 ");
    step(40, &[], "250 ");
    step(5, &[("ERROR", BELOW_1)], "452 4.3.1 ");
    step(11, &[], "452 4.3.1 ");
    step(5, &[], "452 4.3.1 ");

    // What was accepted is delivered all the same.
    hop.be(Mood::Well);
    appliance.wait_empty();
    hop.be(Mood::Busy);
    let accepted = load.notes().accepted;
    assert!(accepted >= MAILS);

    step(30, &[], "250 ");
    step(5, &[("ERROR", BELOW_1)], "452 4.3.1 ");
    step(300, &[("INFO", ROOM)], "250 ");
    // Both limits at once.
    step(5, &[("WARN", BELOW_5), ("ERROR", BELOW_1)], "452 4.3.1 ");
    step(300, &[("INFO", ROOM)], "250 ");
    assert_eq!(
        appliance.count("the data volume has recovered; mail is accepted"),
        3,
        "once for each time"
    );
    for line in [BELOW_5, BELOW_1, ROOM] {
        let in_log = told(&appliance).iter().filter(|(_, text)| *text == line).count();
        assert_eq!(
            appliance.count(line),
            in_log,
            "on standard error as often as in the appliance log: {line}"
        );
    }
    hop.be(Mood::Well);
    load.start(1);
    load.wait_accepted(1);
    load.stop();
    appliance.wait_empty();
    assert_eq!(appliance.stop(), Some(143));
    appliance.wait_all_gone();
}

#[test]
fn a_start_on_a_volume_that_is_almost_full_serves_delivers_and_refuses() {
    let volume = SmallVolume::mount(64 << 20);
    let hop = NextHop::start();
    hop.be(Mood::Busy);
    let mut appliance = Appliance::start(hop.address, Some(&volume.path));
    let mut load = Load::new(appliance.smtp());
    load.start(2);
    load.wait_accepted(MAILS);
    load.stop();
    assert_eq!(appliance.stop(), Some(143));
    let waiting = load.notes().accepted;

    volume.leave(5);
    hop.be(Mood::Well);
    let ready = appliance.times_ready();
    appliance.start_again();
    appliance.wait_ready(ready);
    until("both alerts", || told(&appliance) == [("WARN", BELOW_5), ("ERROR", BELOW_1)]);
    let heard = answer_to_mail(appliance.smtp());
    assert!(heard.starts_with("452 4.3.1 "), "{heard}");
    appliance.wait_empty();
    assert_eq!(
        hop.notes()
            .copies
            .keys()
            .map(|(number, _)| number)
            .collect::<std::collections::BTreeSet<_>>()
            .len() as u64,
        waiting
    );

    volume.leave(300);
    until("mail is accepted again", || answer_to_mail(appliance.smtp()).starts_with("250 "));
    until("that is told", || told(&appliance).last() == Some(&("INFO", ROOM)));
    assert_eq!(appliance.stop(), Some(143));
    appliance.wait_all_gone();
}

/// The alerts in the appliance log, in order, with their severity.
fn told(appliance: &Appliance) -> Vec<(&'static str, &'static str)> {
    let log = appliance.appliance_log();
    let alert = |line: &str| {
        let (_, rest) = line.split_once(' ')?;
        let (severity, text) = rest.split_once(" init: ")?;
        let severity = ["INFO", "WARN", "ERROR"].into_iter().find(|known| *known == severity)?;
        [BELOW_5, BELOW_1, ROOM]
            .into_iter()
            .find(|known| *known == text)
            .map(|text| (severity, text))
    };
    log.lines().filter_map(alert).collect()
}

/// The reply to a client that wants to send a mail now.
fn answer_to_mail(server: SocketAddr) -> String {
    let mut reader = BufReader::new(TcpStream::connect(server).unwrap());
    let mut answer = String::new();
    for word in ["", "HELO client.example\r\n", "MAIL FROM:<a@client.example>\r\n", "QUIT\r\n"] {
        reader.get_mut().write_all(word.as_bytes()).unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if word.starts_with("MAIL") {
            answer = line;
        }
    }
    answer
}
