//! Pushes to a real Pushgateway. Monitors in trouble are in `monitors.rs`.

use crate::support::{TestUi, busy, curl, troubled_queue};
use postern::monitor::push::{FAREWELL_PATIENCE, PushConfig, push};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Debian's Pushgateway, ended with the test.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        Self::start_at(address).await
    }

    async fn start_at(address: SocketAddr) -> Self {
        let process = Command::new("prometheus-pushgateway")
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("install Debian's package prometheus-pushgateway");
        let gateway = Self { process, address };
        let up = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), up).await.expect("the Pushgateway does not start");
        gateway
    }

    async fn metrics(&self) -> String {
        curl(&[], &format!("http://{}/metrics", self.address)).await.body
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn start(ui: &TestUi, address: SocketAddr, instance: &str) -> JoinHandle<()> {
    let config =
        PushConfig::new(&format!("http://{address}"), instance, Duration::from_millis(100))
            .unwrap();
    tokio::spawn(push(config, Arc::clone(&ui.ui.monitor), ui.stop.subscribe()))
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_real_gateway_shows_the_counters_until_the_clean_stop() {
    let gateway = Gateway::start().await;
    let ui = TestUi::open(troubled_queue(), None).await;
    busy(&ui.counters);
    let task = start(&ui, gateway.address, "mta.shop.example");
    until("a push", || ui.counters.monitor.push_total.get() > 1).await;
    assert_eq!(ui.counters.monitor.push_failures_total.get(), 0);
    let text = gateway.metrics().await;
    for (name, value) in [
        ("mta_mqueue_messages", "234"),
        ("mta_smtp_active_sessions", "12"),
        ("mta_accepted_total", "193340"),
    ] {
        let line = format!("{name}{{instance=\"mta.shop.example\",job=\"mta\"}} {value}");
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    assert!(text.contains("mta_mqueue_kbytes{"), "{text}");
    assert!(
        text.contains(
            "mta_mqueue_age_seconds_bucket{instance=\"mta.shop.example\",job=\"mta\",le=\"60\"}"
        ),
        "{text}"
    );
    ui.stop.send(true).unwrap();
    timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    let text = gateway.metrics().await;
    assert!(!text.contains("mta_mqueue_messages"), "the group stays after a clean stop:\n{text}");
}

/// Two appliances of one name overwrite each other; the one that stops must not delete the other's
/// counters.
#[tokio::test]
async fn a_stop_takes_back_its_own_counters_alone() {
    let gateway = Gateway::start().await;
    let (stays, goes) = (TestUi::open([], None).await, TestUi::open([], None).await);
    goes.counters.monitor.start_time_seconds.set(1000);
    stays.counters.monitor.start_time_seconds.set(2_000_000);
    let leaving = start(&goes, gateway.address, "mta.example");
    until("a push", || goes.counters.monitor.push_total.get() > 0).await;
    let slow = PushConfig::new(
        &format!("http://{}", gateway.address),
        "mta.example",
        Duration::from_secs(60),
    )
    .unwrap();
    // The stopping one is also slow: the last push is the other's.
    leaving.abort();
    let leaving =
        tokio::spawn(push(slow.clone(), Arc::clone(&goes.ui.monitor), goes.stop.subscribe()));
    until("its push", || goes.counters.monitor.push_total.get() > 1).await;
    let staying = tokio::spawn(push(slow, Arc::clone(&stays.ui.monitor), stays.stop.subscribe()));
    until("the other's push", || stays.counters.monitor.push_total.get() > 0).await;
    goes.stop.send(true).unwrap();
    timeout(Duration::from_secs(5), leaving).await.unwrap().unwrap();
    let text = gateway.metrics().await;
    assert!(
        text.contains("mta_start_time_seconds{instance=\"mta.example\",job=\"mta\"} 2e+06"),
        "{text}"
    );
    stays.stop.send(true).unwrap();
    timeout(Duration::from_secs(5), staying).await.unwrap().unwrap();
    assert!(!gateway.metrics().await.contains("mta_start_time_seconds{instance"));
}

#[tokio::test]
async fn odd_host_names_arrive_as_they_are() {
    let gateway = Gateway::start().await;
    for (odd, shown) in [("a/b", "a/b"), ("grün 100%", "grün 100%"), ("", "")] {
        let ui = TestUi::open([], None).await;
        let task = start(&ui, gateway.address, odd);
        until("a push", || ui.counters.monitor.push_total.get() > 0).await;
        let text = gateway.metrics().await;
        assert!(
            text.contains(&format!("mta_mqueue_messages{{instance=\"{shown}\",job=\"mta\"}} 0")),
            "{odd}:\n{text}"
        );
        ui.stop.send(true).unwrap();
        timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_gateway_that_dies_and_returns_is_pushed_to_again() {
    let gateway = Gateway::start().await;
    let address = gateway.address;
    let ui = TestUi::open([], None).await;
    let task = start(&ui, address, "mta");
    until("a push", || ui.counters.monitor.push_total.get() > 0).await;
    drop(gateway);
    until("a failure", || ui.counters.monitor.push_failures_total.get() > 0).await;
    let before = ui.counters.monitor.push_total.get();
    let gateway = Gateway::start_at(address).await;
    until("a push again", || ui.counters.monitor.push_total.get() > before).await;
    assert!(gateway.metrics().await.contains("mta_mqueue_messages"));
    ui.stop.send(true).unwrap();
    timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_monitor_that_hangs_at_the_end_does_not_hold_up_the_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Answers every PUT, and nothing else.
    let (farewell, said) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1 << 16];
            let read = stream.read(&mut request).await.unwrap();
            if request.starts_with(b"GET ") {
                stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    .await
                    .unwrap();
                continue;
            }
            if request.starts_with(b"DELETE ") {
                farewell.send(String::from_utf8_lossy(&request[..read]).into_owned()).unwrap();
                let _ = stream.read_to_end(&mut request).await;
                return;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    });
    let ui = TestUi::open([], None).await;
    let task = start(&ui, address, "mta");
    until("a push", || ui.counters.monitor.push_total.get() > 0).await;
    let begin = Instant::now();
    ui.stop.send(true).unwrap();
    timeout(FAREWELL_PATIENCE + Duration::from_secs(1), task).await.unwrap().unwrap();
    assert!(begin.elapsed() > FAREWELL_PATIENCE / 2, "the answer was not waited for at all");
    assert!(said.await.unwrap().starts_with("DELETE /metrics/job/mta/instance/mta HTTP/1.1\r\n"));
}
