//! Webhooks.

use crate::hook::Hook;
use crate::support::TestUi;
use postern::core::counters::counters;
use postern::ground::tls::verifying_client;
use postern::mail::model::{
    Address, AddressMask, Body, BodyType, Delays, Delivery, DeliveryAttempt, Destination, Envelope,
    MailEventSink, Message, MessageId, MessageKind, Origin, Outcome, Reply, ReplyClass, Target,
};
use postern::webhooks::counters::WebhookCounters;
use postern::webhooks::{WAITING_MAX, WebhookConfig, WebhookFormat, Webhooks, watch_alerts};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

struct Running {
    hooks: Arc<Webhooks>,
    counters: Arc<WebhookCounters>,
    stop: watch::Sender<bool>,
    senders: Vec<JoinHandle<()>>,
}

impl Running {
    fn start(ports: &[u16], counters: Arc<WebhookCounters>) -> Self {
        let receivers = ports.iter().map(|port| {
            (WebhookFormat::Plain, format!("http://127.0.0.1:{port}/").parse().unwrap())
        });
        let config = WebhookConfig {
            hostname: "mta.example".to_owned(),
            receivers: receivers.collect(),
            outcomes: vec![ReplyClass::Permanent],
            alerts: true,
            mask: Arc::new(Whole),
            key: None,
            allowed: vec!["127.0.0.0/8".parse().unwrap()],
            tls: verifying_client(Vec::new()).unwrap(),
        };
        let (hooks, senders) = Webhooks::open(config, &counters);
        let (stop, stopping) = watch::channel(false);
        let senders =
            senders.into_iter().map(|sender| tokio::spawn(sender.run(stopping.clone()))).collect();
        Self { hooks, counters, stop, senders }
    }

    fn count(&self, status: &str) -> u64 {
        self.counters.webhook_total.with_label_values(&[status]).get()
    }

    /// Waits until a count is reached.
    async fn until(&self, status: &str, number: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.count(status) < number {
            assert!(Instant::now() < deadline, "{} of {number} are {status}", self.count(status));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Emits an attempt of the message of this number with this result.
fn tell(hooks: &Webhooks, number: usize, reply: Reply) {
    let message = Message {
        id: MessageId(number as u64),
        arrived: 0,
        envelope: Envelope {
            sender: Address::parse("shop@example.org").ok(),
            recipients: vec![Address::parse("anna@example.net").unwrap()],
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        },
        origin: Origin { peer: None, helo: "".into(), may_relay: false },
        kind: MessageKind::Mail,
        progress: Vec::new(),
        held: false,
        delay_warning_sent: false,
        body: Body::Memory(Default::default()),
    };
    let (target, outcome) = (Target::Recipient(0), Outcome::said(reply));
    let attempt = DeliveryAttempt {
        message: &message,
        destination: &Destination::domain("example.net").unwrap(),
        outcomes: &[(target, outcome.clone())],
        relay: "",
        tls: false,
        security: "",
        transcript: "",
        at: postern::ground::clock::now(),
        due: 0,
        delays: Delays::default(),
        progress: None,
        over: true,
    };
    hooks.take(&Delivery { attempt: &attempt, target, outcome: &outcome }.event(false));
}

fn bounce(hooks: &Webhooks, number: usize) {
    tell(hooks, number, Reply::new(550, (5, 1, 1), "unknown"));
}

/// Masks nothing.
struct Whole;

impl AddressMask for Whole {
    fn address(&self, address: &str) -> String {
        address.to_owned()
    }

    fn text(&self, text: &str) -> String {
        text.to_owned()
    }
}

/// A receiver that gives every request the same answer, or none.
fn receiver(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if !answer.is_empty() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
            open.push(stream);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_costs_nobody_else_a_moment() {
    let hook = Hook::start(&[]);
    let running =
        Running::start(&[receiver(""), hook.port], counters().unwrap().0.webhooks.clone());
    let begun = Instant::now();
    for number in 0..WAITING_MAX {
        bounce(&running.hooks, number);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "telling waits: {:?}", begun.elapsed());
    // The one that hangs has as many as may wait, and one in progress.
    running.until("sent", WAITING_MAX as u64).await;
    for number in 0..10 {
        bounce(&running.hooks, number);
    }
    running.until("sent", WAITING_MAX as u64 + 10).await;
    assert!((9..=10).contains(&running.count("dropped")), "{}", running.count("dropped"));
    let mut ids: Vec<String> = (0..WAITING_MAX)
        .map(|_| hook.next()["event"]["data"]["id"].as_str().unwrap().to_owned())
        .collect();
    let told: Vec<String> =
        (0..WAITING_MAX as u64).map(|number| MessageId(number).to_string()).collect();
    assert_eq!(ids, told, "in their order");
    ids.clear();
    let begun = Instant::now();
    running.stop.send_replace(true);
    for sender in running.senders {
        sender.await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "the stop took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_left_out_and_what_is_sent_elsewhere_does_not_go_there() {
    let hook = Hook::start(&[]);
    let refusing =
        receiver("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let running = Running::start(&[refusing], counters().unwrap().0.webhooks.clone());
    bounce(&running.hooks, 1);
    bounce(&running.hooks, 2);
    running.until("failed", 2).await;
    assert_eq!(running.count("retried"), 4);

    let location = format!(
        "HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n",
        hook.port
    );
    let running =
        Running::start(&[receiver(location.leak())], counters().unwrap().0.webhooks.clone());
    bounce(&running.hooks, 1);
    running.until("retried", 2).await;
    assert!(hook.is_silent(Duration::ZERO));
    // These events are not configured.
    tell(&running.hooks, 3, Reply::new(250, (2, 0, 0), "ok"));
    assert!(hook.is_silent(Duration::ZERO) && running.count("dropped") == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_told_when_it_comes_and_when_it_is_over() {
    let (hook, ui) = (Hook::start(&[]), TestUi::open([], None).await);
    let running = Running::start(&[hook.port], ui.counters.webhooks.clone());
    let pace = Duration::from_millis(50);
    let watching =
        watch_alerts(running.hooks.clone(), ui.ui.monitor.clone(), pace, running.stop.subscribe());
    let watching = tokio::spawn(watching);
    let _ = ui.ready.send_replace(Err("the data volume fails: <EIO>".to_owned()));
    let event = tokio::task::block_in_place(|| hook.next())["event"].clone();
    assert_eq!(
        (&event["type"], &event["data"]["key"]),
        (&"alert.raised".into(), &"ready".into()),
        "{event}"
    );
    assert!(
        event["data"]["grave"] == true && event["data"]["text"].as_str().unwrap().contains("EIO"),
        "{event}"
    );
    let _ = ui.ready.send_replace(Ok(()));
    let event = tokio::task::block_in_place(|| hook.next())["event"].clone();
    assert_eq!(
        (&event["type"], &event["data"]["key"]),
        (&"alert.cleared".into(), &"ready".into()),
        "{event}"
    );
    assert!(hook.is_silent(Duration::from_millis(300)), "once is enough");
    running.stop.send_replace(true);
    watching.await.unwrap();
}
