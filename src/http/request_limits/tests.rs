use super::*;

fn places() -> Arc<RequestLimits> {
    RequestLimits::new(HttpCounters::alone().unwrap(), 1 << 20)
}

fn address(number: usize) -> IpAddr {
    IpAddr::from(u32::try_from(number + (10 << 24)).unwrap().to_be_bytes())
}

fn client(number: usize) -> RequestClient {
    RequestClient { address: address(number), direct: true }
}

#[test]
fn who_asks_for_nothing_gives_way_to_whoever_comes() {
    let places = places();
    let asked = places.enter(address(1), false).unwrap();
    drop(asked.begin(RequestClass::Other, client(1)).unwrap());
    let silent: Vec<_> =
        (0..300).map(|number| places.enter(address(2 + number % 3), false).unwrap()).collect();
    assert_eq!(places.lock().connections.len(), CONNECTIONS_MAX);
    assert!(
        asked.begin(RequestClass::Other, client(1)).is_some(),
        "it has asked before, and they have not"
    );
    assert!(silent[0].begin(RequestClass::Health, client(2)).is_none(), "the oldest is gone");
    assert!(silent[299].begin(RequestClass::Health, client(2)).is_some());
    drop(silent);
    assert_eq!(places.lock().connections.len(), 1);
}

#[test]
fn requests_of_one_client_leave_room_for_others_and_for_monitors() {
    let places = places();
    let enter = |number: usize| places.enter(address(number), false).unwrap();
    let many: Vec<_> = (0..REQUESTS_PER_CLIENT_MAX)
        .filter_map(|_| enter(1).begin(RequestClass::Other, client(1)))
        .collect();
    assert_eq!(many.len(), REQUESTS_PER_CLIENT_MAX);
    assert!(enter(1).begin(RequestClass::Other, client(1)).is_none());
    let others: Vec<_> = (0..40)
        .filter_map(|number| enter(100 + number).begin(RequestClass::Other, client(100 + number)))
        .collect();
    assert_eq!(many.len() + others.len(), REQUESTS_MAX);
    let mut monitors: Vec<_> =
        (0..20).filter_map(|_| enter(7).begin(RequestClass::Monitor, client(7))).collect();
    assert_eq!(monitors.len(), MONITORS_PER_CLIENT_MAX, "of one client");
    monitors.extend(
        (0..20).filter_map(|number| {
            enter(70 + number).begin(RequestClass::Monitor, client(70 + number))
        }),
    );
    assert_eq!(monitors.len(), MONITORS_MAX);
    let near = places.enter(address(9), true).unwrap();
    let of_ours = near.begin(RequestClass::Monitor, client(9));
    assert!(of_ours.is_some(), "monitors of our own have places that strangers cannot take");
    drop(of_ours);
    let of_ours: Vec<_> =
        (0..20).filter_map(|_| near.begin(RequestClass::Other, client(9))).collect();
    assert_eq!(of_ours.len(), OWN_REQUESTS_MAX, "and so have all their other requests");
    assert!(
        near.begin(RequestClass::Other, RequestClient { direct: false, ..client(9) }).is_none()
    );
    drop(of_ours);
    let behind = near.begin(RequestClass::Monitor, RequestClient { direct: false, ..client(9) });
    assert!(
        behind.is_none(),
        "whoever comes through a proxy is none of ours, wherever the proxy is"
    );
    drop(near);
    assert!(enter(8).begin(RequestClass::Health, client(8)).is_some());
    drop((many, others, monitors));
    let table = places.lock();
    assert_eq!((table.requests.all(), table.monitors.all()), (0, 0));
    drop(table);
    assert!(enter(1).begin(RequestClass::Other, client(1)).is_some());
}

#[test]
fn slow_readers_cannot_take_all_memory() {
    let places = places();
    let enter = |number| places.enter(address(number), false).unwrap();
    let reader = |number, kind| enter(number).begin(kind, client(number)).unwrap().reader();
    let mut readers: Vec<_> = (0..4).map(|_| reader(1, RequestClass::Other)).collect();
    let taken: Vec<_> = readers.iter_mut().map(|reader| reader.may_have(250 << 10)).collect();
    assert_eq!(taken, [true, true, true, false]);
    let mut other = reader(2, RequestClass::Other);
    assert!(!other.may_have(100 << 10) && other.may_have(SHORT));
    assert!(
        reader(3, RequestClass::Health).may_have(100)
            && reader(3, RequestClass::Monitor).may_have(200 << 10)
    );
    let pieces: Vec<_> = readers.iter().map(Unread::mark).collect();
    drop(readers);
    assert!(!other.may_have(100 << 10), "the kernel has not taken the pieces");
    drop(pieces);
    assert!(other.may_have(700 << 10));
}

#[test]
fn an_answer_larger_than_all_memory_goes_alone() {
    let places = places();
    let enter = |number| places.enter(address(number), false).unwrap();
    let reader =
        |number| enter(number).begin(RequestClass::Other, client(number)).unwrap().reader();
    let (mut large, mut other) = (reader(1), reader(2));
    assert!(large.may_have(5 << 20) && !other.may_have(SHORT + 1));
    drop(large);
    assert!(other.may_have(SHORT + 1));
}

/// A connection whose client does not read.
fn unread(
    places: &Arc<RequestLimits>,
    number: usize,
    kind: RequestClass,
) -> (Arc<ConnectionPermit>, PendingPiece) {
    let place = places.enter(address(number), false).unwrap();
    let waits = place.begin(kind, client(number)).unwrap().reader().mark();
    (place, waits)
}

#[test]
fn whoever_does_not_read_holds_no_request_and_its_connection_only_while_there_is_room() {
    let places = places();
    for kind in [RequestClass::Health, RequestClass::Monitor, RequestClass::Other] {
        let crowd: Vec<_> = (0..300).map(|number| unread(&places, number % 2, kind)).collect();
        assert_eq!(places.lock().connections.len(), CONNECTIONS_MAX);
        let other =
            places.enter(address(9), false).expect("of a crowd that does not read one gives way");
        for kind in [RequestClass::Health, RequestClass::Monitor, RequestClass::Other] {
            assert!(other.begin(kind, client(9)).is_some(), "{kind:?}");
        }
        drop(crowd);
    }
    assert_eq!(places.lock().connections.len(), 0);
}

#[test]
fn a_slow_reader_gives_way_after_the_idle_ones_and_after_its_crowd() {
    let places = places();
    let mut slow: Vec<_> =
        (0..10).map(|number| unread(&places, number.min(8), RequestClass::Other)).collect();
    let idle = places.enter(address(20), false).unwrap();
    let gone = |ago| {
        let mut open = places.lock();
        let before: Vec<u64> = open.connections.keys().copied().collect();
        let least = open.least(|connection| !connection.own, 0, Instant::now() + ago);
        let made = open.give_way(least);
        let left = |number: &u64| !open.connections.contains_key(number);
        before.into_iter().find(left).filter(|_| made)
    };
    assert_eq!(gone(UNREAD_PATIENCE), Some(idle.number));
    assert_eq!(gone(UNREAD_PATIENCE / 2), None, "they may still read");
    assert_eq!(
        gone(UNREAD_PATIENCE),
        Some(slow[8].0.number),
        "the first of the two of one address"
    );
    assert_eq!(gone(UNREAD_PATIENCE), Some(slow[0].0.number));
    slow[1].1 = slow[2].0.begin(RequestClass::Other, client(2)).unwrap().reader().mark();
    assert_eq!(gone(UNREAD_PATIENCE), Some(slow[1].0.number), "it has read all, and is idle");
    let busy = slow[2].0.begin(RequestClass::Other, client(2)).unwrap();
    assert_eq!(gone(UNREAD_PATIENCE), Some(slow[2].0.number), "although more of its answer comes");
    drop(busy);
}

#[test]
fn a_client_that_reads_a_little_now_and_then_has_waited_all_the_same() {
    let places = places();
    let begun = Instant::now();
    let (place, _waits) = unread(&places, 1, RequestClass::Other);
    let after = |seconds| begun + Duration::from_secs(seconds);
    place.note(|connection| {
        connection.unread = None;
        for second in 0..10 {
            connection.sends(after(2 * second));
            connection.sends(after(2 * second));
            connection.sent(after(2 * second + 1));
            assert!(connection.unread.is_some());
            connection.sent(after(2 * second + 1));
            assert_eq!(connection.waited(after(99)), None);
        }
        connection.sends(after(50));
        assert_eq!(connection.waited(after(51)), Some(Duration::from_secs(11)));
    });
}

#[test]
fn a_client_that_nobody_knows_is_held_to_a_pace() {
    let places = places();
    let taken = (0..3000).filter(|_| places.pace(address(1)).is_ok()).count();
    assert!((1000..1500).contains(&taken), "{taken}");
    assert!(places.pace(address(2)).is_ok());
    // More clients than are tracked do not make it forgotten.
    assert!((0..=CLIENTS_MAX).all(|number| places.pace(address(10 + number)).is_ok()));
    let more = (0..3000).filter(|_| places.pace(address(1)).is_ok()).count();
    assert!(more < 500, "{more}");
}

/// All connections are older than the first moment.
fn after_a_moment(places: &Arc<RequestLimits>) {
    places.lock().connections.values_mut().for_each(|connection| connection.since -= MOMENT);
}

fn is_here(place: &Arc<ConnectionPermit>) -> bool {
    place.places.lock().connections.contains_key(&place.number)
}

#[test]
fn a_crowd_of_addresses_never_closes_a_connection_of_our_own() {
    let places = places();
    let ours: Vec<_> = (0..3).map(|_| places.enter(address(1), true).unwrap()).collect();
    let mut crowd = Vec::new();
    for round in 0..10 {
        crowd.extend(
            (0..140).filter_map(|number| places.enter(address(100 + number + 140 * round), false)),
        );
        after_a_moment(&places);
        assert!(ours.iter().all(is_here), "round {round}");
        assert_eq!(places.lock().connections.len(), CONNECTIONS_MAX);
    }
    assert!(ours.iter().all(|place| place.begin(RequestClass::Other, client(1)).is_some()));
}

#[test]
fn our_own_take_the_places_of_strangers_before_those_of_each_other() {
    let places = places();
    let crowd: Vec<_> = (0..CONNECTIONS_MAX)
        .map(|number| places.enter(address(100 + number), false).unwrap())
        .collect();
    let ours: Vec<_> =
        (0..90).map(|number| places.enter(address(number % 2), true).unwrap()).collect();
    assert!(ours.iter().all(is_here));
    assert_eq!(crowd.iter().filter(|place| is_here(place)).count(), CONNECTIONS_MAX - 90);
    assert!(places.enter(address(99), false).is_none(), "the rest has just come");
    assert!(ours.iter().all(is_here));
}

#[test]
fn the_reserve_is_there_when_all_strangers_are_busy() {
    let places = places();
    let crowd: Vec<_> = (0..CONNECTIONS_MAX)
        .map(|number| places.enter(address(100 + number), false).unwrap())
        .collect();
    let busy: Vec<_> =
        crowd.iter().filter_map(|place| place.begin(RequestClass::Health, client(100))).collect();
    assert!(busy.len() == CONNECTIONS_MAX && places.enter(address(99), false).is_none());
    let ours: Vec<_> =
        (0..OWN_CONNECTIONS_MAX).map(|_| places.enter(address(1), true).unwrap()).collect();
    assert!(ours.iter().all(is_here));
    let more = places.enter(address(2), true).unwrap();
    assert!(is_here(&more) && !is_here(&ours[0]), "they give way to each other in the end");
}

#[test]
fn who_has_just_come_has_a_moment_before_it_gives_way_to_strangers() {
    let places = places();
    let several: Vec<_> = (0..2).map(|_| places.enter(address(1), false).unwrap()).collect();
    let crowd: Vec<_> = (2..CONNECTIONS_MAX)
        .map(|number| places.enter(address(100 + number), false).unwrap())
        .collect();
    let next = places
        .enter(address(2), false)
        .expect("an address that has two connections gives one away");
    assert!(!is_here(&several[0]) && is_here(&several[1]));
    assert!(places.enter(address(3), false).is_none(), "all others have one, and it has just come");
    assert!(crowd.iter().all(is_here) && is_here(&next));
    after_a_moment(&places);
    let late = places.enter(address(3), false).expect("their moment is over");
    assert_eq!(
        crowd.iter().filter(|place| !is_here(place)).count() + usize::from(!is_here(&several[1])),
        1
    );
    assert!(is_here(&late));
}

#[test]
fn a_crowd_of_addresses_that_do_not_read_gives_way_before_who_has_just_come() {
    let places = places();
    let ours = places.enter(address(1), true).unwrap();
    let strangers: Vec<_> = (0..3).map(|_| places.enter(address(2), false).unwrap()).collect();
    let crowd: Vec<_> =
        (0..200).map(|number| unread(&places, 100 + number, RequestClass::Monitor)).collect();
    assert!(is_here(&ours) && strangers.iter().all(is_here));
    assert!(strangers.iter().all(|place| place.begin(RequestClass::Health, client(2)).is_some()));
    drop(crowd);
}

#[test]
fn a_stranger_of_the_same_network_closes_no_connection_of_our_own() {
    let places = places();
    let neighbour = |last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
    let ours = places.enter(neighbour(1), true).unwrap();
    drop(ours.begin(RequestClass::Health, client(1)));
    let silent = places.enter(neighbour(1), true).unwrap();
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS_PER_ADDRESS_MAX * 2 {
        let place = places.enter(neighbour(2), false).expect("it gives way to itself");
        drop(place.begin(RequestClass::Health, client(2)));
        crowd.push(place);
    }
    assert!(is_here(&ours) && is_here(&silent));
    assert_eq!(crowd.iter().filter(|place| is_here(place)).count(), CONNECTIONS_PER_ADDRESS_MAX);
}
