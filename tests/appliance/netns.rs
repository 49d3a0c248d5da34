//! A small network of namespaces: a box with two gateways, and the same address behind each of
//! them.
//!
//! ```text
//!                 ┌─ eth1  10.91.1.2 ── 10.91.1.1 ─┐ gateway 1, with a sink at 198.51.100.25
//!   box (lo, …) ──┤        fd91:1::2 ── fd91:1::1  ┘                       and 2001:db8:25::25
//!                 └─ eth2  10.91.2.2 ── 10.91.2.1 ─┐ gateway 2, with a sink at the same addresses
//!                          fd91:2::2 ── fd91:2::1  ┘
//! ```
//! The sink that gets a mail shows which way it went. Needs root and iproute2.

use crate::support::{ORDINARY, is_root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// The address of both sinks, and their port.
pub const FAR: [&str; 2] = ["198.51.100.25", "2001:db8:25::25"];
pub const FAR_PORT: u16 = 2525;

pub struct Internet {
    prefix: String,
    sinks: Vec<(Child, PathBuf)>,
}

impl Internet {
    /// Creates it; the box's default routes lead through gateway 1.
    pub fn new() -> Self {
        assert!(is_root(), "network namespaces take root: run this test as root");
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let prefix =
            format!("postern-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let internet = Self { prefix, sinks: Vec::new() };
        for place in ["box", "gw1", "gw2"] {
            let name = internet.name(place);
            ip(&["netns", "add", &name]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        for side in ["1", "2"] {
            let (inside, gateway) = (internet.name("box"), internet.name(&format!("gw{side}")));
            let link = format!("eth{side}");
            ip(&[
                "-n", &inside, "link", "add", &link, "type", "veth", "peer", "name", "eth0",
                "netns", &gateway,
            ]);
            internet.plug(
                "box",
                &link,
                &[&format!("10.91.{side}.2/24"), &format!("fd91:{side}::2/64")],
            );
            let place = format!("gw{side}");
            internet.plug(
                &place,
                "eth0",
                &[&format!("10.91.{side}.1/24"), &format!("fd91:{side}::1/64"), "fe80::91/64"],
            );
            internet.plug(&place, "lo", &[&format!("{}/32", FAR[0]), &format!("{}/128", FAR[1])]);
        }
        internet.route(&["add", "default", "via", "10.91.1.1"]);
        internet.route(&["-6", "add", "default", "via", "fd91:1::1"]);
        // Files that replace those in /etc for programs in the box.
        fs::create_dir_all(internet.etc()).unwrap();
        let hosts = "127.0.0.1 localhost\n0.255.255.255 nowhere.test\n10.91.2.1 gw.test\n10.91.2.1 \
        both.test\nfd91:2::1 both.test\n\
                     10.91.2.1 half.test\n2001:db8:99::1 half.test\n";
        fs::write(internet.etc().join("hosts"), hosts).unwrap();
        fs::write(
            internet.etc().join("resolv.conf"),
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )
        .unwrap();
        fs::write(internet.etc().join("nsswitch.conf"), "hosts: files dns\n").unwrap();
        internet
    }

    fn name(&self, place: &str) -> String {
        format!("{}-{place}", self.prefix)
    }

    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(self.name("box"))
    }

    fn plug(&self, place: &str, link: &str, addresses: &[&str]) {
        let name = self.name(place);
        ip(&["-n", &name, "link", "set", link, "up"]);
        for address in addresses {
            let mut args = vec!["-n", &name, "address", "add", address, "dev", link];
            // An address cannot be used during duplicate address detection.
            args.extend(address.contains(':').then_some("nodad"));
            ip(&args);
        }
    }

    /// `ip route …` in the box; gives what it prints, blanks at the ends of lines removed.
    pub fn route(&self, args: &[&str]) -> String {
        let name = self.name("box");
        let mut all = vec!["-n", &name];
        let (family, args) = if args[0] == "-6" { (Some("-6"), &args[1..]) } else { (None, args) };
        all.extend(family);
        all.push("route");
        all.extend(args);
        ip(&all).lines().map(|line| line.trim().to_owned() + "\n").collect()
    }

    /// The command line that starts `program` in the box.
    pub fn in_box(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name("box")]).arg(program);
        command
    }

    /// The same as an ordinary user, with the capabilities named, such as `+net_admin`.
    pub fn in_box_as_user(&self, program: &Path, capabilities: &str) -> Command {
        let mut command = self.in_box(Path::new("setpriv"));
        let id = ORDINARY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        command.args([
            format!("--inh-caps=-all,{capabilities}"),
            format!("--ambient-caps=-all,{capabilities}"),
        ]);
        command.arg(program);
        command
    }

    /// Starts a sink behind each gateway; mail is stored below `directory`.
    pub fn open_sinks(&mut self, program: &Path, directory: &Path) {
        for side in ["gw1", "gw2"] {
            for far in FAR {
                let maildir = directory.join(side);
                fs::create_dir_all(&maildir).unwrap();
                let listen = if far.contains(':') {
                    format!("[{far}]:{FAR_PORT}")
                } else {
                    format!("{far}:{FAR_PORT}")
                };
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &self.name(side)]).arg(program);
                command.args(["sink", "--listen", &listen, "--maildir"]).arg(&maildir);
                let sink = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                self.sinks.push((sink, maildir));
            }
        }
    }

    /// Sends one mail from inside the box with swaks, and waits until it is at either sink; gives
    /// the counts of both.
    pub fn mail(&self, server: &str) -> [usize; 2] {
        let before: usize = self.counts().iter().sum();
        let mut command = self.in_box(Path::new("swaks"));
        command.args([
            "--server",
            server,
            "--from",
            "a@example.com",
            "--to",
            "b@example.org",
            "--hide-all",
        ]);
        run(&mut command);
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let counts = self.counts();
            if counts.iter().sum::<usize>() > before {
                return counts;
            }
            assert!(
                Instant::now() < end,
                "the mail arrives nowhere: {counts:?}\n{}",
                self.route(&["show"])
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a session from a gateway up to a recipient; gives the exit code of swaks.
    pub fn try_recipient(&self, place: &str, server: &str) -> i32 {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.name(place),
            "swaks",
            "--server",
            server,
            "--quit-after",
            "RCPT",
        ]);
        command.args(["--from", "a@example.com", "--to", "b@example.org", "--hide-all"]);
        command.status().unwrap().code().unwrap()
    }

    fn counts(&self) -> [usize; 2] {
        let count =
            |at: usize| fs::read_dir(self.sinks[at].1.join("new")).map_or(0, Iterator::count);
        // Two sinks of one gateway, one for each family, share a directory.
        [count(0), count(2)]
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for (sink, _) in &mut self.sinks {
            let _ = sink.kill();
            let _ = sink.wait();
        }
        for place in ["box", "gw1", "gw2"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.name(place)]).status();
        }
        let _ = fs::remove_dir_all(self.etc());
    }
}

fn ip(args: &[&str]) -> String {
    run(Command::new("ip").args(args))
}

fn run(command: &mut Command) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "{command:?}: {error} (packages iproute2, util-linux and swaks: run .ci/run prepare \
        as root)"
        )
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
