//! A receiver of webhooks: `hook.py`.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::patience::PATIENCE;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub struct Hook {
    child: Child,
    pub port: u16,
    heard: Receiver<Value>,
}

impl Hook {
    /// Starts it; see there for the arguments.
    pub fn start(arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/hook.py");
        let mut command = Command::new("python3");
        let mut child = command
            .arg(script)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3; install it");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (sender, heard) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, port, heard }
    }

    /// The next request.
    pub fn next(&self) -> Value {
        self.heard.recv_timeout(PATIENCE).expect("no event came")
    }

    /// Whether nothing comes for so long.
    pub fn is_silent(&self, time: Duration) -> bool {
        self.heard.recv_timeout(time).is_err()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
