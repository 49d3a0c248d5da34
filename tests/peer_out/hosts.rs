//! Hosts that are down, and the ones behind them.

use crate::support::{Do, Peer, all_delivered, client, code, counted, message, patient, route, say, send};
use postern::mail::model::{Hop, Route};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn broken_hosts_first_and_a_good_one_behind_them() {
    let closes = Peer::start(&[], |_| Do::Close).await;
    let refuses = Peer::start(&[], |_| say("554 5.7.1 not here")).await;
    let busy = Peer::start(&[], |_| say("421 4.3.2 busy")).await;
    let garbage = Peer::start(&[], |_| say("welcome")).await;
    let no_hello = Peer::start(&[], |step| if step.line.is_empty() { Do::Usual } else { say("550 5.7.1 go away") }).await;
    let good = Peer::good(&[]).await;
    let (client, counters) = counted(patient());
    let all = [nobody().await, closes.address, refuses.address, busy.address, garbage.address, no_hello.address, good.address];
    let connection = client.connect(&route(&all)).await.unwrap();
    assert_eq!(connection.relay(), format!("mx6.example[127.0.0.1]:{}", good.address.port()));
    assert_eq!(counters.connections_out_active.get(), 1);
    assert_eq!(counters.connections_out_total.with_label_values(&["failed"]).get(), 6);
    assert_eq!(counters.connections_out_total.with_label_values(&["established"]).get(), 1);
    let (connection, report) = send(connection, &message(1, "a\r\n")).await;
    assert!(all_delivered(&report));
    assert_eq!(report.relay, connection.relay());
    connection.quit().await;
    assert_eq!(counters.connections_out_active.get(), 0);
}

#[tokio::test]
async fn all_addresses_of_a_host_are_tried() {
    let good = Peer::good(&[]).await;
    let hop = Hop { host: "mx.example".into(), addresses: vec![nobody().await, nobody().await, good.address] };
    let route = Route { destination: "there.example".into(), hops: vec![hop] };
    assert!(client(patient()).connect(&route).await.is_ok());
}

#[tokio::test]
async fn nobody_is_there() {
    let address = nobody().await;
    let outcome = client(patient()).connect(&route(&[address])).await.unwrap_err();
    assert_eq!(code(&outcome), "451 4.4.1");
    assert_eq!(outcome.reply.text, format!("connect to mx0.example[127.0.0.1]:{}: Connection refused", address.port()));
}

#[tokio::test]
async fn only_a_unanimous_no_is_final() {
    let refuses = Peer::start(&[], |_| say("554 5.7.1 not you")).await;
    let also = Peer::start(&[], |_| say("521 5.3.2 no mail here")).await;
    let outcome = client(patient()).connect(&route(&[refuses.address, also.address])).await.unwrap_err();
    assert_eq!((code(&outcome).as_str(), outcome.remote), ("554 5.7.1", true));
    for addresses in [[refuses.address, nobody().await], [nobody().await, refuses.address]] {
        let outcome = client(patient()).connect(&route(&addresses)).await.unwrap_err();
        assert_eq!(code(&outcome), "451 4.4.1", "{outcome:?}");
    }
}
