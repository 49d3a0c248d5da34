//! The shipped alert rules, in a real Prometheus with the example grid's configuration, over a real
//! Pushgateway and a running server: every rule is loaded and valid, and uses existing names and
//! labels.

use crate::pushes::{Gateway, start, until};
use crate::support::{TestUi, curl, troubled_queue};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Debian's Prometheus, ended with the test.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// With the configuration of the grid, other addresses and shorter intervals; and with scrapes
    /// in addition to the pushes, because the rules and the dashboard must support both at once.
    async fn start(gateway: SocketAddr, appliance: SocketAddr) -> Self {
        let read = |name: &str| {
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
        };
        let mut config = read("grid/mon/prometheus.yml");
        for (shipped, here) in [
            ("localhost:9091", gateway.to_string()),
            ("scrape_interval: 5s", "scrape_interval: 500ms".to_owned()),
            ("evaluation_interval: 15s", "evaluation_interval: 500ms".to_owned()),
        ] {
            assert!(config.contains(shipped), "{shipped} is not in the grid's configuration");
            config = config.replace(shipped, &here);
        }
        config += &format!(
            "  - job_name: mta-direct\n    static_configs:\n      - targets: \
            [\"{appliance}\"]\n        labels: {{instance: mta}}\n"
        );
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(directory.path().join("rules.yml"), read("appliance/monitor/rules.yml"))
            .unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("install Debian's package prometheus");
        Self { process, address, _directory: directory }
    }

    /// The answer of its API, when there is one.
    async fn ask(&self, path: &str) -> Option<Value> {
        tokio::net::TcpStream::connect(self.address).await.ok()?;
        let reply = curl(&["--globoff"], &format!("http://{}/api/v1/{path}", self.address)).await;
        (reply.status == 200).then(|| reply.json())
    }

    /// The rules that are loaded, once each was evaluated.
    async fn rules(&self) -> Vec<Value> {
        let begin = Instant::now();
        loop {
            let rules =
                self.ask("rules").await.map(|answer| answer["data"]["groups"][0]["rules"].clone());
            if let Some(Value::Array(rules)) = rules
                && rules.iter().all(|rule| rule["health"] != "unknown")
            {
                return rules;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "Prometheus does not tell its rules"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn rule<'a>(rules: &'a [Value], name: &str) -> &'a Value {
    rules
        .iter()
        .find(|rule| rule["name"] == name)
        .unwrap_or_else(|| panic!("{name} is not loaded: {rules:?}"))
}

#[tokio::test]
async fn the_shipped_rules_work_in_a_real_prometheus() {
    let gateway = Gateway::start().await;
    // More than 150 of its messages are older than four hours.
    let ui = TestUi::open(troubled_queue(), None).await;
    let pushes = start(&ui, gateway.address, "mta");
    until("a push", || ui.counters.monitor.push_total.get() > 0).await;
    let prometheus = Prometheus::start(gateway.address, ui.address).await;
    let begin = Instant::now();
    let rules = loop {
        let rules = prometheus.rules().await;
        if rule(&rules, "MtaQueueOld")["state"] == "pending"
            && rule(&rules, "MtaAbsent")["state"] == "inactive"
        {
            break rules;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "old mail is not seen: {}",
            serde_json::to_string(&rules).unwrap()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let shipped = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("appliance/monitor/rules.yml"),
    )
    .unwrap();
    let named: Vec<&str> =
        shipped.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(rules.len(), named.len());
    for name in named {
        assert_eq!(rule(&rules, name)["health"], "ok", "{name}");
    }
    // Pushed and scraped, but only one alert.
    let old = rule(&rules, "MtaQueueOld")["alerts"].as_array().unwrap().clone();
    assert_eq!(old.len(), 1, "{old:?}");
    assert_eq!(old[0]["labels"]["instance"], "mta");
    for quiet in [
        "MtaQueueDeep",
        "MtaNotPushing",
        "MtaCertificateExpires",
        "MtaCertificateExpired",
        "MtaLogFailing",
    ] {
        assert_eq!(rule(&rules, quiet)["state"], "inactive", "{quiet}");
    }
    // The series that the volume's alerts compare exist, from both sources.
    let query = "query?query=mta_disk_free_bytes/(mta_disk_size_bytes>0)";
    let begin = Instant::now();
    loop {
        let rows = prometheus
            .ask(query)
            .await
            .map(|answer| answer["data"]["result"].as_array().map_or(0, Vec::len));
        if rows == Some(2) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{rows:?} series of the data volume");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ui.stop.send(true).unwrap();
    pushes.await.unwrap();
}

/// There is no Grafana here; the queries of its panels are sent to a real Prometheus.
#[tokio::test]
async fn every_question_of_the_shipped_dashboard_is_understood_and_has_an_answer() {
    let gateway = Gateway::start().await;
    let ui = TestUi::open(troubled_queue(), None).await;
    crate::support::busy(&ui.counters);
    ui.counters.deliver.connections_out_total.with_label_values(&["established"]).inc();
    ui.counters.accept.tls_sessions_total.with_label_values(&["TLSv1.3"]).inc();
    let prometheus = Prometheus::start(gateway.address, ui.address).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("appliance/monitor/grafana/dashboards/postern.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let questions: Vec<String> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap().clone())
        .map(|target| {
            target["expr"]
                .as_str()
                .unwrap()
                .replace("$__rate_interval", "1m")
                .replace("$instance", ".*")
        })
        .collect();
    assert!(questions.len() > 30, "{}", questions.len());
    let metrics = ui.curl(&[], "/metrics").await.body;
    for name in questions
        .iter()
        .flat_map(|question| question.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()))
    {
        assert!(!name.starts_with("mta_") || metrics.contains(name), "{name} is no metric of ours");
    }
    let begin = Instant::now();
    for question in questions {
        let encoded: String = question.bytes().map(|byte| format!("%{byte:02X}")).collect();
        // A rate needs two scrapes.
        loop {
            let answer = prometheus.ask(&format!("query?query={encoded}")).await;
            let rows = answer
                .as_ref()
                .and_then(|answer| answer["data"]["result"].as_array().map(Vec::len));
            if rows.is_some_and(|rows| rows > 0) {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(40), "{question}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
