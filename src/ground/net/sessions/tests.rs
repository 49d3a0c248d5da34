use super::*;

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn limits() -> ConnectionLimits {
    ConnectionLimits::new(Duration::from_secs(300))
}

fn sessions(sessions: usize, reserve: usize, sessions_per_address: usize) -> Arc<Sessions> {
    Sessions::new(&ConnectionLimits { sessions, reserve, sessions_per_address, ..limits() })
}

fn stranger(sessions: &Arc<Sessions>, last: u8) -> Result<SessionPermit, NoSlot> {
    sessions.enter(address(last), PeerClass::Stranger).map(|(permit, _)| permit)
}

#[tokio::test]
async fn places_are_limited_in_all_and_by_address_and_come_back() {
    let sessions = sessions(3, 0, 2);
    let enter = |last| sessions.enter(address(last), PeerClass::Trusted).map(|(permit, _)| permit);
    let first = enter(1).unwrap();
    let _second = enter(1).unwrap();
    assert_eq!(enter(1).unwrap_err(), NoSlot::Address);
    let third = enter(2).unwrap();
    assert_eq!(enter(2).unwrap_err(), NoSlot::All);
    drop((first, third));
    assert!(
        !sessions.lock().by_address.contains_key(&address(2)),
        "an address without sessions is forgotten"
    );
    enter(1).unwrap();
}

#[tokio::test]
async fn a_whole_network_of_64_bits_counts_as_one_address() {
    let sessions = sessions(9, 0, 2);
    let enter = |text: &str| sessions.enter(text.parse().unwrap(), PeerClass::Stranger);
    let _held = (enter("2001:db8::1").unwrap(), enter("2001:db8::ffff:2").unwrap());
    assert_eq!(enter("2001:db8::3").unwrap_err(), NoSlot::Address);
    enter("2001:db8:0:1::1").unwrap();
}

#[tokio::test]
async fn the_reserve_is_for_trusted_clients() {
    let sessions = sessions(10, 4, 10);
    let held: Vec<_> = (0..6).map(|_| stranger(&sessions, 1).unwrap()).collect();
    assert_eq!(stranger(&sessions, 1).unwrap_err(), NoSlot::Strangers);
    let trusted: Vec<_> =
        (0..4).map(|_| sessions.enter(address(9), PeerClass::Trusted).unwrap()).collect();
    assert!(
        trusted.iter().all(|(_, displaces)| !displaces)
            && held.iter().all(|permit| !permit.slot().is_displaced())
    );
}

#[tokio::test]
async fn beyond_the_reserve_the_stranger_without_progress_for_longest_gives_way() {
    let sessions = sessions(3, 0, 10);
    let mut held = Vec::new();
    for now in 0..3 {
        held.push(sessions.enter_at(address(1), PeerClass::Stranger, now).unwrap().0);
    }
    held[0].slot().reached_at(Milestone::Identified, 3);
    held[1].slot().reached_at(Milestone::Established, 3);
    let (_trusted, displaces) = sessions.enter_at(address(9), PeerClass::Trusted, 3).unwrap();
    assert!(displaces);
    held[2].slot().displaced().await;
    // A repetition is not progress.
    held[0].slot().reached_at(Milestone::Identified, 4);
    assert_eq!(held[0].slot().progress.load(Ordering::Relaxed), 3);
    let _next = sessions.enter(address(9), PeerClass::Trusted).unwrap();
    held[0].slot().displaced().await;
    assert_eq!(
        sessions.enter(address(9), PeerClass::Trusted).unwrap_err(),
        NoSlot::All,
        "nobody is left to give way"
    );
    drop(held);
    assert_eq!(
        {
            let open = sessions.lock();
            (open.all, open.strangers, open.displaced, open.by_count.len())
        },
        (2, 0, 0, 0)
    );
}

#[tokio::test]
async fn among_strangers_the_largest_crowd_gives_way_first() {
    let sessions = sessions(6, 0, 10);
    let enter = |last, now| {
        sessions.enter_at(address(last), PeerClass::Stranger, now).map(|(permit, _)| permit)
    };
    let crowd: Vec<_> = (0..5).map(|_| enter(1, 0).unwrap()).collect();
    let lone = enter(2, 0).unwrap();
    let third = enter(3, 0).unwrap();
    assert_eq!(crowd.iter().filter(|permit| permit.slot().is_displaced()).count(), 1);
    assert!(crowd[0].slot().is_displaced(), "the first of them has waited longest");
    // 4, 1, 1: a client with many sessions may not take slots from those with few, until these have
    // made no progress for a while.
    assert_eq!(enter(1, 0).unwrap_err(), NoSlot::Strangers);
    let later = sessions.grace;
    lone.slot().reached_at(Milestone::Identified, later);
    let _again = enter(1, later).unwrap();
    assert!(
        !lone.slot().is_displaced()
            && !third.slot().is_displaced()
            && crowd[1].slot().is_displaced()
    );
}

#[tokio::test]
async fn a_gateway_has_the_places_of_all_strangers() {
    let sessions = sessions(10, 4, 2);
    let enter = || sessions.enter(address(1), PeerClass::Gateway);
    let _held: Vec<_> = (0..6).map(|_| enter().unwrap()).collect();
    assert_eq!(enter().unwrap_err(), NoSlot::Strangers);
}

#[tokio::test]
async fn few_sessions_close_at_a_time() {
    let sessions = sessions(DISPLACED_MAX + 2, 0, 10_000);
    let held: Vec<_> = (0..DISPLACED_MAX + 2).map(|_| stranger(&sessions, 1).unwrap()).collect();
    let trusted: Vec<_> = (0..DISPLACED_MAX)
        .map(|_| sessions.enter(address(9), PeerClass::Trusted).unwrap())
        .collect();
    assert_eq!(sessions.enter(address(9), PeerClass::Trusted).unwrap_err(), NoSlot::All);
    drop(held);
    drop(trusted);
    assert_eq!(sessions.lock().displaced, 0);
}

#[tokio::test]
async fn strangers_have_less_time_while_they_are_many() {
    let limits = ConnectionLimits { sessions: 4, ..limits() };
    let sessions = Sessions::new(&limits);
    let first = stranger(&sessions, 1).unwrap();
    let trusted = sessions.enter(address(9), PeerClass::Trusted).unwrap().0;
    assert_eq!(first.slot().command_time(&limits), limits.stranger);
    let _more = [stranger(&sessions, 1).unwrap(), stranger(&sessions, 1).unwrap()];
    assert_eq!(first.slot().command_time(&limits), limits.stranger_busy);
    assert_eq!(first.slot().handshake_time(&limits), limits.stranger_busy);
    assert_eq!(trusted.slot().command_time(&limits), limits.command);
    assert_eq!(trusted.slot().handshake_time(&limits), limits.handshake_trusted);
    first.slot().reached(Milestone::Begun);
    assert_eq!(
        first.slot().command_time(&limits),
        limits.command,
        "who sends has the time of the standard"
    );
}

#[tokio::test]
async fn where_memory_is_scarce_that_is_the_reason() {
    let limits = ConnectionLimits { sessions: 3, reserve: 1, scarce: true, ..limits() };
    let sessions = Sessions::new(&limits);
    let _held = [stranger(&sessions, 1).unwrap(), stranger(&sessions, 1).unwrap()];
    let full = stranger(&sessions, 1).unwrap_err();
    assert_eq!(
        (full, sessions.told(full)),
        (NoSlot::Strangers, NoSlot::Memory),
        "a crowd of strangers does not count as want of memory"
    );
    let trusted = sessions.enter(address(9), PeerClass::Trusted).unwrap();
    assert!(!trusted.1, "the reserve is there");
    let _ours: Vec<_> =
        (0..2).map_while(|_| sessions.enter(address(9), PeerClass::Trusted).ok()).collect();
    assert_eq!(sessions.enter(address(9), PeerClass::Trusted).unwrap_err(), NoSlot::Memory);
}

#[tokio::test]
async fn while_memory_is_short_strangers_only_take_each_others_places() {
    let limits = ConnectionLimits { sessions: 10, reserve: 2, ..limits() };
    let sessions = Sessions::new(&limits);
    let crowd: Vec<_> = (0..3).map(|_| stranger(&sessions, 1).unwrap()).collect();
    limits.memory.set(Pressure::Short);
    assert_eq!(stranger(&sessions, 1).unwrap_err(), NoSlot::Memory);
    let (other, displaces) = sessions.enter(address(2), PeerClass::Stranger).unwrap();
    assert!(
        displaces && crowd[0].slot().is_displaced(),
        "one of the crowd gives way to another address"
    );
    let (_trusted, displaces) = sessions.enter(address(9), PeerClass::Trusted).unwrap();
    assert!(!displaces);
    limits.memory.set(Pressure::Critical);
    let (_second, displaces) = sessions.enter(address(9), PeerClass::Trusted).unwrap();
    assert!(displaces, "the place of a stranger");
    drop((crowd, other));
    assert_eq!(sessions.enter(address(9), PeerClass::Trusted).unwrap_err(), NoSlot::Memory);
    limits.memory.set(Pressure::Ample);
    stranger(&sessions, 1).unwrap();
}
