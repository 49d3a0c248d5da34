//! Power cuts: the appliance as root in a virtual machine, its data volume on a disk that loses its
//! write cache ([`disk`]), clients and next hop outside of the machine. At a random time under load
//! the disk's power is cut, then the machine's.
//!
//! `POSTERN_CRASH_ROUNDS` is the number of cuts (here by default a few), `POSTERN_CRASH_SEED`
//! decides when they come and what survives, `POSTERN_POWER_FS` is the file system.
//! scripts/power-cuts.sh makes a hundred of them. At the end the disk ignores flushes, and the loss
//! of mail must be detected: this shows that the check can fail.

mod disk;
mod nbd;

use crate::appliance::{AGENTS, Killing, Kind};
use crate::guest::{Fittings, Guest, Machine, luggage};
use crate::load::Load;
use crate::next_hop::{Mood, NextHop};
use crate::verdict::judge_slow;
use crate::{leg, until};
use disk::Disk;
use fastrand::Rng;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Sessions at a time.
const CLIENTS: usize = 6;
/// Mails answered between two cuts, at least.
const MAILS: u64 = 30;
/// When after that the next cut comes: at a random time within this.
const SOON: Duration = Duration::from_millis(1500);
/// How long the machine runs without its disk; no mail may be answered 250 then.
const DYING: Duration = Duration::from_millis(50);
/// The same as for kills, on an emulated processor and a slow disk.
const ON_THE_WAY: Duration = Duration::from_secs(2);
/// Octets of the disk; XFS needs at least 300 MiB.
const SIZE: u64 = 512 << 20;
/// The host's address in the guest.
const HOST: &str = "10.0.2.2";

#[test]
fn what_was_answered_250_survives_power_cuts() {
    let cuts = leg::number("POSTERN_CRASH_ROUNDS").unwrap_or(3);
    let kind = std::env::var("POSTERN_POWER_FS").unwrap_or_else(|_| "ext4".to_owned());
    let seed = leg::seed();
    let mut random = Rng::with_seed(seed);
    let hop = NextHop::start();
    let site = Site::new(&hop, &kind);
    let mut load = Load::new(site.smtp);
    let mut killings = Vec::new();
    let begin = Instant::now();
    println!("{kind}, seed {seed}: POSTERN_CRASH_SEED={seed} cuts at the same moments");
    println!(
        "cut  answered 250   ready after   next hop         unflushed sectors   of these \
        lost   flushes"
    );
    for number in 1..=cuts {
        let (guest, up) = site.boot();
        let weather = weather(&hop, &mut random);
        load.start(CLIENTS);
        load.wait_accepted(MAILS);
        std::thread::sleep(SOON.mul_f64(random.f64()) / 2);
        if weather == "busy, then well" {
            hop.be(Mood::Well);
        }
        std::thread::sleep(SOON.mul_f64(random.f64()) / 2);
        // Three cuts in four come while there are unflushed writes.
        site.disk.wait_at_stake([0, 1, 20, 200][random.usize(..4)]);
        let before = Instant::now();
        let cut = site.disk.cut(Some(&mut random));
        std::thread::sleep(DYING.mul_f64(random.f64()));
        drop(guest);
        killings.push(Killing { kind: Kind::Both, before, after: Instant::now() });
        load.stop_alone();
        hop.be(Mood::Well);
        println!(
            "{number:>3} {:>13} {:>11.1} s   {weather:<16} {:>17} {:>15} {:>9}",
            load.notes().accepted,
            up.as_secs_f32(),
            cut.at_stake,
            cut.lost,
            cut.flushes
        );
    }
    let (mut guest, _) = site.boot();
    site.wait_empty();
    let verdict = judge_slow(&load.notes(), &hop.notes(), &killings, ON_THE_WAY);
    println!("\nafter {cuts} cuts in {:.0} s:\n{verdict}", begin.elapsed().as_secs_f32());
    leg::record(&format!("power-{kind}"), seed, cuts, &verdict, begin.elapsed());
    verdict.must_be_clean();
    let left = site.list(&mut guest);
    println!("set aside or left behind: {left:?}");
    assert!(
        left.iter().all(|name| is_tail(name)),
        "only what nobody was promised may be damaged: {left:?}"
    );

    // The same with a disk that ignores flushes: the check must be able to fail.
    site.disk.lie();
    hop.be(Mood::Busy);
    load.start(CLIENTS);
    load.wait_accepted(MAILS);
    let before = Instant::now();
    site.disk.cut(None);
    drop(guest);
    killings.push(Killing { kind: Kind::Both, before, after: Instant::now() });
    load.stop_alone();
    hop.be(Mood::Well);
    let (_guest, _) = site.boot();
    site.wait_empty();
    let verdict = judge_slow(&load.notes(), &hop.notes(), &killings, ON_THE_WAY);
    let lost = verdict.complaints.iter().filter(|text| text.starts_with("LOST: ")).count() as u64;
    assert!(lost >= MAILS, "the disk lied, and no more than {lost} mails are missed");
    println!("a disk that lies about its flushes: {lost} mails are missed, as they must be");
}

/// The unfinished write at the end of a queue's last segment, or a content that was being received.
fn is_tail(name: &str) -> bool {
    name.starts_with("corrupt/") && (name.ends_with(".tail") || name.ends_with(".eml"))
}

/// The behaviour of the next hop until the cut: so that there is mail in every state.
fn weather(hop: &NextHop, random: &mut Rng) -> &'static str {
    let (mood, words) = [
        (Mood::Well, "well"),
        (Mood::Busy, "busy"),
        (Mood::Busy, "busy, then well"),
        (Mood::Away, "away"),
    ][random.usize(..4)];
    hop.be(mood);
    words
}

/// The machine with its disk, and its addresses.
struct Site {
    machine: Machine,
    luggage: tempfile::TempDir,
    disk: Disk,
    fittings: Fittings,
    smtp: SocketAddr,
    ui: SocketAddr,
    orders: TcpListener,
}

impl Site {
    fn new(hop: &NextHop, kind: &str) -> Self {
        let machine = Machine::made();
        // ext4 takes a partly written block of its journal for damage, and cannot be mounted any
        // more: docs/durability.md.
        let disk = Disk::new(SIZE, if kind == "ext4" { 8 } else { 1 });
        let luggage =
            luggage(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash_process/power/guest"));
        let [smtp, ui] = ports();
        let orders = TcpListener::bind("127.0.0.1:0").unwrap();
        let network =
            format!("user,model=virtio-net-pci,hostfwd=tcp:{smtp}-:25,hostfwd=tcp:{ui}-:80");
        let write =
            |name: &str, text: String| fs::write(luggage.path().join(name), text + "\n").unwrap();
        write("kind", kind.to_owned());
        write("blank", String::new());
        write("orders", orders.local_addr().unwrap().port().to_string());
        let properties = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("MTA_LISTEN", "0.0.0.0".to_owned()),
            ("MTA_SMTPD_TRUSTED_NETWORKS", HOST.to_owned()),
            ("MTA_VOLUME_DATA", "/dev/vdc".to_owned()),
            ("MTA_SMART_RELAY", format!("{HOST}:{}", hop.address.port())),
            ("MTA_DESTINATION_CONCURRENCY_LIMIT", AGENTS.to_string()),
            ("MTA_MINIMAL_BACKOFF_TIME", "1s".to_owned()),
            ("MTA_MAXIMAL_BACKOFF_TIME", "2s".to_owned()),
        ];
        write("environment", properties.map(|(name, value)| format!("{name}={value}")).join("\n"));
        let fittings = Fittings { disks: vec![disk.drive()], network: Some(network) };
        Self { machine, luggage, disk, fittings, smtp, ui, orders }
    }

    /// Waits until the relay is ready; gives how long that took.
    fn boot(&self) -> (Guest, Duration) {
        let mut guest = self.machine.boot(self.luggage.path(), &self.fittings);
        wait_line(&mut guest, "the SMTP core is ready");
        // It has a file system now.
        let _ = fs::remove_file(self.luggage.path().join("blank"));
        let up = guest.booted.elapsed();
        (guest, up)
    }

    /// Messages in the queue; `None` if it does not answer.
    fn waiting(&self) -> Option<u64> {
        let mut stream = TcpStream::connect(self.ui).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        page.lines().find_map(|line| line.strip_prefix("mta_mqueue_messages ")?.parse().ok())
    }

    fn wait_empty(&self) {
        until("the queue runs empty", || self.waiting() == Some(0));
    }

    /// Stops the relay, and starts it again; gives what was on the volume when it was stopped.
    fn list(&self, guest: &mut Guest) -> Vec<String> {
        // The machine of the last boot has called last.
        self.orders.set_nonblocking(true).unwrap();
        let calls: Vec<TcpStream> =
            std::iter::from_fn(|| self.orders.accept().ok().map(|(stream, _)| stream)).collect();
        calls.last().expect("the machine has called").write_all(b"list\n").unwrap();
        let mut names = Vec::new();
        loop {
            let line = wait_line(guest, "@@ ");
            match line.strip_prefix("@@ ") {
                Some("listed") => break,
                Some(name) => names.push(name.to_owned()),
                None => {}
            }
        }
        wait_line(guest, "the SMTP core is ready");
        names
    }
}

/// Two unused ports, which are given to no connection while the machine is off.
fn ports() -> [SocketAddr; 2] {
    let mut free =
        std::iter::repeat_with(|| TcpListener::bind(("127.0.0.1", fastrand::u16(20_000..32_000))))
            .flatten();
    let held = [free.next().unwrap(), free.next().unwrap()];
    held.map(|listener| listener.local_addr().unwrap())
}

fn wait_line(guest: &mut Guest, text: &str) -> String {
    loop {
        match guest.line() {
            Some(line) if line.contains(text) => return line,
            Some(_) => {}
            None => panic!(
                "the machine went off before it said {text:?}; its console:\n{}",
                guest.seen.join("\n")
            ),
        }
    }
}
