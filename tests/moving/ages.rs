//! Imported mail has its age from its acceptance by the other queue, wherever ages are counted and
//! mails are sorted.

use crate::letters::{send, sum};
use crate::support::appliance::{Appliance, Sink};
use crate::support::patience::until;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

fn ids(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

/// Whole seconds are rounded, and machines are slow.
fn is_about(seconds: u64, wanted: u64) -> bool {
    (wanted - 10..wanted + 1500).contains(&seconds)
}

/// Page by page: by the `next` of the last page, or by its last message.
fn paged(appliance: &Appliance, by_the_message: bool) -> Vec<String> {
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = appliance.api(&format!("queue?limit=2&after={after}"));
        let messages = ids(page["messages"].as_array().unwrap());
        let Some(last) = messages.last().cloned() else { return seen };
        seen.extend(messages);
        let Some(next) = page["next"].as_str() else { return seen };
        after = if by_the_message { last } else { next.to_owned() };
    }
}

#[test]
fn imported_mail_is_as_old_as_it_is() {
    const HOUR: u64 = 3600;
    const AGES: [u64; 4] = [90 * HOUR, 30 * HOUR, 5 * HOUR, HOUR / 2];
    let sink = Sink::start("rcpt=450");
    let mut appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_MINIMAL_BACKOFF_TIME", "1h"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "1h"),
    ]);
    let deferred = |appliance: &Appliance, wanted: u64| {
        until("every mail was tried", || {
            let queue = &appliance.api("status")["queue"];
            if queue["deferred"] == wanted { Ok(()) } else { Err(queue.to_string()) }
        });
    };
    send(&appliance, 1..5);
    deferred(&appliance, 4);
    let pairs = appliance.path("run").join("pairs");
    let folder = pairs.to_str().unwrap();
    sum(&mut appliance.command(&["queue", "--json", "export", folder, "--all", "--move"]));
    // This one was here before the others were imported.
    send(&appliance, 5..6);
    deferred(&appliance, 1);
    let mut files: Vec<_> =
        fs::read_dir(&pairs).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut arrived = BTreeMap::new();
    // The oldest is imported last.
    for (path, age) in files.iter().rev().zip(AGES) {
        let mut view: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let moment = SystemTime::now() - Duration::from_secs(age);
        let second = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        view["arrived"] = postern::ground::clock::rfc3339(u32::try_from(second).unwrap()).into();
        fs::write(path, serde_json::to_vec(&view).unwrap()).unwrap();
        arrived.insert(age, view["arrived"].clone());
    }
    let imported = sum(&mut appliance.command(&["queue", "--json", "import", folder]));
    assert_eq!(imported["imported"], 4, "{imported}");
    for start in 0..2 {
        let listed = appliance.queue(&["list"]);
        let moments: Vec<&Value> = listed.iter().map(|message| &message["arrived"]).collect();
        let oldest_first: Vec<&Value> = arrived.values().rev().collect();
        assert_eq!(
            moments[..4],
            oldest_first[..],
            "start {start}: the list is in the order of arrival"
        );
        assert_eq!(moments.len(), 5);
        assert_eq!(
            (paged(&appliance, false), paged(&appliance, true)),
            (ids(&listed), ids(&listed)),
            "start {start}"
        );
        // Bounds: 5 min, 1 h, 6 h, 1 d, 3 d.
        assert_eq!(
            appliance.api("ages")["messages"],
            serde_json::json!([1, 1, 1, 0, 1, 1]),
            "start {start}"
        );
        let heat = appliance.api("destinations")["destinations"][0]["ages"].clone();
        assert_eq!(heat, serde_json::json!([1, 1, 1, 0, 1, 1]), "start {start}: the heat map");
        let within = |seconds: u64| {
            appliance.counter(&format!("mta_mqueue_age_seconds_bucket{{le=\"{seconds}\"}}"))
        };
        let counted = [300, 3600, 43_200, 86_400, 172_800, 432_000].map(within);
        assert_eq!(counted, [1, 2, 3, 3, 4, 5], "start {start}");
        let sum = appliance.counter("mta_mqueue_age_seconds_sum");
        let wanted: u64 = AGES.iter().sum();
        assert!(is_about(sum, wanted), "start {start}: {sum}");
        let oldest = appliance.api("status")["queue"]["oldest_age_seconds"].as_u64().unwrap();
        assert!(is_about(oldest, AGES[0]), "start {start}: {oldest}");
        if start == 0 {
            // Held mail has the same age, and all of it at the next start.
            assert_eq!(
                appliance.command(&["queue", "hold", &ids(&listed)[0]]).status().unwrap().code(),
                Some(0)
            );
            let oldest = appliance.api("status")["queue"]["oldest_age_seconds"].as_u64().unwrap();
            assert!(is_about(oldest, AGES[0]), "of the held one: {oldest}");
            assert_eq!(
                appliance.command(&["queue", "release", &ids(&listed)[0]]).status().unwrap().code(),
                Some(0)
            );
            appliance.stop();
            appliance.boot();
            deferred(&appliance, 5);
        }
    }
}
