//! The real program under test: `postern init` with directories and ports of its own.

use super::patience::{PATIENCE, until};
use super::program::{Program, free_port, open_directory};
use super::threads;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// The uid of the appliance when root runs the tests.
pub const ORDINARY: u32 = 12345;

/// Its host name.
pub const HOSTNAME: &str = "postern.example";

/// An appliance: a data volume that outlives its processes, and the present process.
pub struct Appliance {
    directory: TempDir,
    /// Its SMTP address.
    pub smtp: SocketAddr,
    /// Its address of SMTP with implicit TLS, with `ssl_disabled=no`.
    pub smtps: SocketAddr,
    /// The address of its pages.
    pub ui: SocketAddr,
    properties: Vec<(String, String)>,
    running: Option<Running>,
    log: Arc<Mutex<Vec<String>>>,
}

struct Running {
    child: Child,
    core: Pid,
    reader: JoinHandle<()>,
}

impl Appliance {
    /// Starts one with properties beyond the usual ones, and waits until it is ready.
    pub fn start(properties: &[(&str, &str)]) -> Self {
        let directory = open_directory();
        let program = directory.path().join("postern");
        let built = Path::new(env!("CARGO_BIN_EXE_postern"));
        fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
        for name in ["data", "run"] {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            if geteuid().is_root() {
                chown(&path, Some(ORDINARY), Some(ORDINARY)).unwrap();
            }
        }
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let [smtp, smtps, ui] = [(); 3].map(|()| local(free_port()));
        let mut appliance = Self {
            directory,
            smtp,
            smtps,
            ui,
            properties: Vec::new(),
            running: None,
            log: Arc::default(),
        };
        appliance.set(properties);
        appliance.boot();
        appliance
    }

    /// Changes properties; the next start reads them.
    pub fn set(&mut self, properties: &[(&str, &str)]) {
        for (name, value) in properties {
            self.properties.retain(|(known, _)| known != name);
            self.properties.push(((*name).to_owned(), (*value).to_owned()));
        }
    }

    /// The program with the properties of this appliance, under its user.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.directory.path().join("postern"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::null());
        command
            .env("MTA_HOSTNAME", HOSTNAME)
            // Contents are compared octet by octet, and few here have all fields; added fields have
            // their own tests.
            .env("MTA_ALWAYS_ADD_MISSING_HEADERS", "no")
            .env("MTA_LISTEN", "127.0.0.1")
            .env("MTA_SMTP_PORT", self.smtp.port().to_string())
            .env("MTA_SMTPS_PORT", self.smtps.port().to_string())
            .env("MTA_UI_PORT", self.ui.port().to_string())
            .env("MTA_VOLUME_DATA", self.directory.path().join("data"))
            .env("MTA_RUN_DIR", self.directory.path().join("run"))
            // Tests read everything, and send as an authenticated program.
            .env("MTA_UI_PUBLIC", "yes")
            .env("MTA_API_TOKENS", "tests:{PLAIN}tests")
            .envs(threads::property())
            .envs(self.properties.iter().map(|(name, value)| (name, value)));
        if geteuid().is_root() {
            command.uid(ORDINARY).gid(ORDINARY);
        }
        command
    }

    /// Starts it on its data volume, and waits until it is ready.
    pub fn boot(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let mut child =
            self.command(&["init"]).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let before = self.log.lock().unwrap().len();
        let log = self.log.clone();
        let reader = std::thread::spawn(move || {
            BufReader::new(stderr)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| log.lock().unwrap().push(line));
        });
        let ready = "the SMTP core is ready (pid ";
        let line = until("the appliance is ready", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!(
                    "the appliance ended ({status}):\n{}",
                    self.log.lock().unwrap()[before..].join("\n")
                );
            }
            let log = self.log.lock().unwrap();
            log[before..]
                .iter()
                .find(|line| line.contains(ready))
                .cloned()
                .ok_or_else(|| log.last().cloned().unwrap_or_default())
        });
        let digits: String =
            line.split(ready).nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
        self.running =
            Some(Running { child, core: Pid::from_raw(digits.parse().unwrap()), reader });
    }

    /// Stops it by SIGTERM, waits for the last line of its log, and gives back the exit code.
    pub fn stop(&mut self) -> i32 {
        self.begin_stop();
        self.finish_stop()
    }

    /// Sends SIGTERM.
    pub fn begin_stop(&self) {
        let running = self.running.as_ref().expect("it runs");
        kill(Pid::from_raw(i32::try_from(running.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    }

    /// Waits for the end that [`Appliance::begin_stop`] asked for.
    pub fn finish_stop(&mut self) -> i32 {
        let mut running = self.running.take().expect("it runs");
        let status = until("the appliance ends", || {
            running.child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        });
        running.reader.join().unwrap();
        assert_eq!(status.signal(), None, "a signal killed init itself");
        status.code().unwrap()
    }

    /// kill -9 of init and core, and waits until both are gone.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("it runs");
        killpg(Pid::from_raw(i32::try_from(running.child.id()).unwrap()), Signal::SIGKILL).unwrap();
        running.child.wait().unwrap();
        running.reader.join().unwrap();
    }

    /// Every line of its log so far, of all its starts.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Runs `postern queue`, with JSON as its answer, one value a line.
    pub fn queue(&self, arguments: &[&str]) -> Vec<Value> {
        let all: Vec<&str> = ["queue", "--json"].iter().chain(arguments).copied().collect();
        let output = super::program::run(&mut self.command(&all));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// The output of `postern queue` for people.
    pub fn queue_in_words(&self, arguments: &[&str]) -> String {
        let all: Vec<&str> = ["queue"].iter().chain(arguments).copied().collect();
        String::from_utf8(super::program::run(&mut self.command(&all)).stdout).unwrap()
    }

    /// The messages in the queue, by the API: at most five hundred.
    pub fn messages(&self) -> Vec<Value> {
        self.api("queue?limit=500")["messages"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the oldest message in the queue was attempted, and gives back the error of its
    /// first recipient.
    pub fn deferral(&self) -> String {
        until("the message is deferred", || {
            let messages = self.messages();
            let said = messages
                .first()
                .and_then(|message| message["recipients"][0]["last_reply"].as_str());
            said.filter(|said| !said.is_empty())
                .map(str::to_owned)
                .ok_or_else(|| format!("{messages:?}"))
        })
    }

    /// Sends a GET to the API.
    pub fn api(&self, path: &str) -> Value {
        let body = self.get(&format!("/api/v1/{path}"));
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Sends a GET, and expects 200.
    pub fn get(&self, path: &str) -> String {
        let (status, body) = self.get_as(path, "");
        assert!(status == "200", "{path}: {status} {body}");
        body
    }

    /// Sends a GET with a further header line, and gives back the status and the body.
    pub fn get_as(&self, path: &str, header: &str) -> (String, String) {
        self.ask(
            path,
            format!("GET {path} HTTP/1.0\r\nHost: {HOSTNAME}\r\n{header}\r\n").as_bytes(),
        )
    }

    /// Sends a POST as an authenticated program, with further header lines, and gives back the
    /// status and the body.
    pub fn post(&self, path: &str, header: &str, content: &[u8]) -> (String, String) {
        let len = content.len();
        let known = if header.contains("Authorization") {
            ""
        } else {
            "Authorization: Bearer tests:tests\r\n"
        };
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: {HOSTNAME}\r\nContent-Length: \
            {len}\r\n{known}{header}\r\n"
        );
        self.ask(path, &[head.as_bytes(), content].concat())
    }

    fn ask(&self, path: &str, request: &[u8]) -> (String, String) {
        let mut stream = TcpStream::connect(self.ui).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer}"));
        (head.split(' ').nth(1).unwrap_or_default().to_owned(), body.to_owned())
    }

    /// A counter of `/metrics`, with its label in that format.
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    /// Waits until nothing is in the queue.
    pub fn until_empty(&self) {
        until("the queue is empty", || match self.counter("mta_mqueue_messages") {
            0 => Ok(()),
            left => Err(format!("{left} messages left")),
        });
    }

    /// The process that runs `postern <command>` as a child of init, if there is one.
    pub fn child(&self, command: &str) -> Option<Pid> {
        let init = self.running.as_ref().expect("it runs").child.id();
        let processes = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let is_it = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let parent = stat
                .rsplit(") ")
                .next()
                .and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok());
            parent == Some(init) && words.split('\0').nth(1) == Some(command)
        };
        processes.into_iter().find(is_it).map(Pid::from_raw)
    }

    /// Whether it reports readiness now.
    pub fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.ui) else { return false };
        let mut answer = String::new();
        let asked = write!(stream, "GET /readyz HTTP/1.0\r\n\r\n");
        asked.is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.split(' ').nth(1) == Some("200")
    }

    /// Waits until its core has so many threads for mail.
    pub fn expect_threads(&self, wanted: usize) {
        let core = self.running.as_ref().expect("it runs").core;
        threads::expect(core.as_raw().unsigned_abs(), wanted);
    }

    /// The most memory that the core ever had, in octets.
    pub fn memory_peak(&self) -> u64 {
        let core = self.running.as_ref().expect("it runs").core;
        let status = fs::read_to_string(format!("/proc/{core}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// A place for the peers' files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            eprintln!(
                "--- the end of the appliance's log:\n{}",
                log[log.len().saturating_sub(60)..].join("\n")
            );
        }
        if let Some(mut running) = self.running.take() {
            let group = Pid::from_raw(i32::try_from(running.child.id()).unwrap());
            let _ = kill(running.core, Signal::SIGKILL);
            let _ = killpg(group, Signal::SIGKILL);
            let _ = running.child.wait();
        }
    }
}

/// `postern sink` as a process: a next hop that stores every mail, and fails as configured.
pub struct Sink {
    program: Program,
    directory: TempDir,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Sink {
    /// On a free port of the loopback.
    pub fn start(fail: &str) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())), fail)
    }

    /// At a given place.
    pub fn at(address: SocketAddr, fail: &str) -> Self {
        let directory = open_directory();
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(["sink", "--listen", &address.to_string(), "--maildir"]).arg(directory.path());
        if !fail.is_empty() {
            command.args(["--fail", fail]);
        }
        let program = Program::start(directory.path(), "sink", command);
        until(&format!("the sink listens on {address}"), || {
            let said = program.said();
            assert!(!said.contains("Error:"), "{said}");
            if said.contains("listening on") { Ok(()) } else { Err(said) }
        });
        Self { program, directory, address }
    }

    /// The property that makes it the smart relay.
    pub fn relay(&self) -> String {
        self.address.to_string()
    }

    /// How many mails it has accepted.
    pub fn count(&self) -> usize {
        fs::read_dir(self.maildir()).unwrap().count()
    }

    /// Waits until it has taken so many mails, and reads them.
    ///
    /// # Panics
    /// There are more of them.
    pub fn mails(&self, count: usize) -> Vec<super::letter::Letter> {
        until(&format!("{count} mails at {}", self.address), || match self.count() {
            found if found < count => Err(format!("{found} mails")),
            _ => Ok(()),
        });
        let mails = super::letter::Letter::all(&self.maildir());
        assert_eq!(mails.len(), count, "too many mails at {}", self.address);
        mails
    }

    /// Its maildir, with each mail as it came.
    pub fn maildir(&self) -> PathBuf {
        self.directory.path().join("new")
    }

    /// Ends it, and gives back its last count, such as `mails`.
    pub fn stop(mut self, what: &str) -> u64 {
        self.program.stop();
        let said = self.program.said();
        let last = said.lines().last().unwrap_or_default();
        let word = last.split(' ').find_map(|word| word.strip_prefix(what)?.strip_prefix('='));
        word.unwrap_or_else(|| panic!("no {what} in {said}")).parse().unwrap()
    }
}
