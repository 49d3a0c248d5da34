//! kill -9 in a loop, under load.

use crate::appliance::{Appliance, Killing, Kind};
use crate::load::Load;
use crate::next_hop::NextHop;
use crate::verdict::judge;
use crate::{PATIENCE, leg};
use fastrand::Rng;
use std::time::{Duration, Instant};

/// Sessions at a time.
const CLIENTS: usize = 6;
/// Mails answered between two kills, at least.
const MAILS: u64 = 40;
/// When after that the next kill comes: at a random time within this.
const SOON: Duration = Duration::from_millis(600);
/// Round robin. Init lets a core that crashes often wait longer each time, so it is restarted
/// itself in between.
const KINDS: [Kind; 6] = [Kind::Core, Kind::Init, Kind::Both, Kind::Core, Kind::Twice, Kind::Core];

#[test]
fn what_was_answered_250_survives_kill_9() {
    let rounds = leg::number("POSTERN_CRASH_ROUNDS").unwrap_or(6);
    let seed = leg::seed();
    let mut random = Rng::with_seed(seed);
    let hop = NextHop::start();
    let mut appliance = Appliance::start(hop.address, None);
    let mut load = Load::new(appliance.smtp());
    let begin = Instant::now();
    let mut killings = Vec::new();
    let mut pauses = Vec::new();
    load.start(CLIENTS);
    println!(
        "seed {seed}: POSTERN_CRASH_SEED={seed} kills at the same \
        moments\nround  killed   answered 250   ready after   250 again after"
    );
    for (round, kind) in (1..=rounds).zip(KINDS.into_iter().cycle()) {
        load.wait_accepted(MAILS);
        // The time must not depend on what the appliance is doing.
        std::thread::sleep(SOON.mul_f64(random.f64()));
        let (ready, accepted) = (appliance.times_ready(), load.notes().accepted);
        let since = Instant::now();
        kill(&mut appliance, kind, &mut random, &mut killings);
        appliance.wait_ready(ready);
        let up = since.elapsed();
        let again =
            load.wait(PATIENCE, |notes| notes.last_accepted.filter(|moment| *moment > since + up));
        let again = again.expect("mail is taken again") - since;
        println!(
            "{round:>5}  {:<6} {accepted:>14} {:>11.2} s {:>15.2} s",
            format!("{kind:?}"),
            up.as_secs_f32(),
            again.as_secs_f32()
        );
        pauses.push((kind, up));
    }
    load.wait_accepted(MAILS);
    load.stop();
    appliance.wait_empty();
    let verdict = judge(&load.notes(), &hop.notes(), &killings);
    println!("\nafter {rounds} rounds in {:.0} s:\n{verdict}", begin.elapsed().as_secs_f32());
    for kind in [Kind::Core, Kind::Init, Kind::Both, Kind::Twice] {
        let times: Vec<f32> =
            pauses.iter().filter(|(of, _)| *of == kind).map(|(_, up)| up.as_secs_f32()).collect();
        let longest = times.iter().copied().fold(0.0, f32::max);
        println!(
            "  {:<40}{:>5} times, ready after {longest:.2} s at most",
            format!("killed: {kind:?}"),
            times.len()
        );
    }
    let set_aside = appliance.files("corrupt");
    println!("  unfinished writes set aside: {}", set_aside.len());
    leg::record("process", seed, rounds, &verdict, begin.elapsed());
    verdict.must_be_clean();
    assert!(
        set_aside.iter().all(|name| name.ends_with(".tail") || name.ends_with(".eml")),
        "only what nobody was promised may be damaged: {set_aside:?}"
    );
    assert_eq!(appliance.stop(), Some(143));
    appliance.wait_all_gone();
    // Contents are removed with the sync after the last done record, which the stop has waited for.
    assert_eq!(appliance.files("body"), [""; 0], "content without a message");
}

#[test]
fn the_next_init_waits_for_the_core_of_a_killed_one() {
    let hop = NextHop::start();
    let mut appliance = Appliance::start(hop.address, None);
    let load = Load::new(appliance.smtp());
    let halfway = load.halfway();
    let ready = appliance.times_ready();
    appliance.kill_init();
    appliance.start_again();
    appliance.wait_for("another process has the data volume");
    assert_eq!(appliance.times_ready(), ready);
    let answer = halfway.finish();
    assert!(answer.starts_with("250 "), "a session may finish its mail: {answer}");
    appliance.wait_ready(ready);
    appliance.wait_empty();
    judge(&load.notes(), &hop.notes(), &[]).must_be_clean();
    assert_eq!(appliance.stop(), Some(143));
}

fn kill(appliance: &mut Appliance, kind: Kind, random: &mut Rng, killings: &mut Vec<Killing>) {
    let mut note = |kind, action: &mut dyn FnMut()| {
        let before = Instant::now();
        action();
        killings.push(Killing { kind, before, after: Instant::now() });
    };
    match kind {
        Kind::Core => note(kind, &mut || appliance.kill_core()),
        Kind::Init => note(kind, &mut || appliance.kill_init()),
        Kind::Both => note(kind, &mut || appliance.kill_both()),
        Kind::Twice => {
            note(Kind::Both, &mut || appliance.kill_both());
            appliance.start_again();
            // During the start, or right after it.
            std::thread::sleep(Duration::from_millis(random.u64(..400)));
            note(Kind::Both, &mut || appliance.kill_both());
        }
    }
    if kind != Kind::Core {
        appliance.start_again();
    }
}
