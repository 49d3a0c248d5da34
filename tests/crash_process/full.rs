//! A data volume that runs full, with and without kill -9, and works again.

use crate::appliance::{Appliance, Killing, Kind};
use crate::load::Load;
use crate::next_hop::{Mood, NextHop};
use crate::verdict::judge;
use crate::volume::SmallVolume;
use crate::{PATIENCE, until};
use std::time::Instant;

const VOLUME: u64 = 24 << 20;
/// Sessions at a time.
const CLIENTS: usize = 6;
/// Mails answered after the volume works again.
const MAILS: u64 = 100;

/// The queue fills its volume by itself while the next hop defers everything; the core and init are
/// killed meanwhile.
#[test]
fn a_full_volume_loses_nothing_and_gets_well_by_itself() {
    let volume = SmallVolume::mount(VOLUME);
    let hop = NextHop::start();
    hop.be(Mood::Busy);
    let mut appliance = Appliance::start(hop.address, Some(&volume.path));
    let mut load = Load::new(appliance.smtp());
    let mut killings = Vec::new();
    let halfway: Vec<_> = (0..3).map(|_| load.halfway()).collect();
    load.start(CLIENTS);
    turned_away(&load, 20);
    let accepted_when_full = load.notes().accepted;
    println!(
        "full after {accepted_when_full} mails, {} octets free of {}",
        volume.free(),
        volume.size()
    );
    // The long ones are the first that find no space; the others fill the rest.
    until("the volume is full to its last two percent", || volume.free() < volume.size() / 50);
    // The space reserved for mail in progress may be more than the last percent: then another
    // program takes what is between.
    if volume.free() * 100 >= volume.size() {
        volume.leave(8);
    }
    appliance.wait_for("Data volume has less than 1% of free disk space");
    // Begun before it was full; at its end there is not enough space for so much.
    for session in halfway {
        let answer = session.finish_with(2 << 20);
        assert!(answer.starts_with("452 4.3.1 "), "{answer}");
    }
    for kind in [Kind::Core, Kind::Both, Kind::Both] {
        // Every attempt writes a record on the volume, until there is no space for any.
        let tries = hop.refusals() + 4 * appliance.waiting();
        until("mail is tried again", || hop.refusals() > tries);
        println!("{} octets free after some tries", volume.free());
        let ready = appliance.times_ready();
        let before = Instant::now();
        match kind {
            Kind::Core => appliance.kill_core(),
            _ => appliance.kill_both(),
        }
        killings.push(Killing { kind, before, after: Instant::now() });
        if kind != Kind::Core {
            appliance.start_again();
        }
        appliance.wait_ready(ready);
        turned_away(&load, 20);
        println!(
            "killed {kind:?}: ready after {:.2} s, {} octets free",
            before.elapsed().as_secs_f32(),
            volume.free()
        );
    }

    recovers(&volume, &hop, &mut appliance, &mut load);
    println!("{}", judge_all(&hop, &load, &killings));
    assert_eq!(appliance.stop(), Some(143));
    appliance.wait_all_gone();
}

/// Another program takes every block of the volume.
#[test]
fn a_volume_without_a_single_block_loses_nothing_and_gets_well_by_itself() {
    let volume = SmallVolume::mount(VOLUME);
    let hop = NextHop::start();
    hop.be(Mood::Busy);
    let mut appliance = Appliance::start(hop.address, Some(&volume.path));
    let mut load = Load::new(appliance.smtp());
    load.start(CLIENTS);
    load.wait_accepted(MAILS);
    volume.fill();
    turned_away(&load, 20);
    let tries = hop.refusals() + 2 * appliance.waiting();
    until("mail is tried again", || hop.refusals() > tries);
    println!("{} mails wait, {} octets free", appliance.waiting(), volume.free());

    load.stop();
    // The next hop works first: what is delivered must be delivered once, whether or not that can
    // be recorded now.
    hop.be(Mood::Well);
    until("everything is delivered, though the volume is full", || {
        let (notes, came) = (load.notes(), hop.notes());
        notes.fates.iter().all(|(number, fate)| {
            *fate != crate::load::Fate::Accepted
                || (0..crate::mail::recipients(*number))
                    .all(|place| came.copies.contains_key(&(*number, place)))
        })
    });
    volume.make_room();
    load.start(CLIENTS);
    load.wait_accepted(MAILS);
    load.stop();
    appliance.wait_empty();
    println!("{}", judge_all(&hop, &load, &[]));
    assert_eq!(appliance.stop(), Some(143));
    appliance.wait_all_gone();
}

/// The core dies while there is no block left.
#[test]
fn a_core_that_dies_on_a_volume_without_a_single_block_comes_back() {
    let volume = SmallVolume::mount(VOLUME);
    let hop = NextHop::start();
    hop.be(Mood::Busy);
    let mut appliance = Appliance::start(hop.address, Some(&volume.path));
    let mut load = Load::new(appliance.smtp());
    load.start(CLIENTS);
    load.wait_accepted(MAILS);
    volume.fill();
    turned_away(&load, 20);
    let ready = appliance.times_ready();
    let before = Instant::now();
    appliance.kill_core();
    let killings = [Killing { kind: Kind::Core, before, after: Instant::now() }];
    // The reserve is enough for a start and for recording deliveries.
    appliance.wait_ready(ready);
    turned_away(&load, 20);
    volume.make_room();
    recovers(&volume, &hop, &mut appliance, &mut load);
    println!("{}", judge_all(&hop, &load, &killings));
    assert_eq!(appliance.stop(), Some(143));
    appliance.wait_all_gone();
}

/// Clients get 452 so many times more, and otherwise only 250.
fn turned_away(load: &Load, times: u64) {
    let (mail, content) = load.notes().full;
    let goal = mail + content + times;
    let reached = load.wait(PATIENCE, |notes| (notes.full.0 + notes.full.1 >= goal).then_some(()));
    assert!(reached.is_some(), "nobody is turned away: {:?} of {goal}", load.notes().full);
}

/// The next hop works again: the queue becomes empty and mail is accepted, without help.
fn recovers(volume: &SmallVolume, hop: &NextHop, appliance: &mut Appliance, load: &mut Load) {
    let since = Instant::now();
    let ready = appliance.times_ready();
    hop.be(Mood::Well);
    load.wait_accepted(MAILS);
    println!(
        "mail is taken again {:.2} s after the next hop is well",
        since.elapsed().as_secs_f32()
    );
    load.stop();
    appliance.wait_empty();
    println!("empty after {:.2} s, {} octets free", since.elapsed().as_secs_f32(), volume.free());
    assert_eq!(appliance.times_ready(), ready, "it took a restart");
}

fn judge_all(hop: &NextHop, load: &Load, killings: &[Killing]) -> String {
    let (sent, came) = (load.notes(), hop.notes());
    let verdict = judge(&sent, &came, killings);
    verdict.must_be_clean();
    format!("452 to MAIL: {}, to the end of content: {}\n{verdict}", sent.full.0, sent.full.1)
}
