//! Files that were not made by `export`, or were changed since.

use crate::letters::{content, said, send, sum, tool};
use crate::support::appliance::{Appliance, Sink};
use crate::support::program::open_folder;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn quiet(sink: &Sink) -> Appliance {
    Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_MINIMAL_BACKOFF_TIME", "1h"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "1h"),
    ])
}

#[test]
fn bad_pairs_are_named_and_the_rest_comes_in() {
    let down = Sink::start("mail=450");
    let old = quiet(&down);
    send(&old, 1..17);
    let folder = tempfile::tempdir_in(old.path("run")).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let pairs = open_folder(&folder, "pairs");
    let directory = pairs.to_str().unwrap();
    assert_eq!(
        sum(&mut old.command(&["queue", "--json", "export", directory, "--all", "--move"]))["moved"],
        16
    );
    let mut stems: Vec<String> = fs::read_dir(&pairs)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().to_str().unwrap().strip_suffix(".json").map(str::to_owned)
        })
        .collect();
    stems.sort();
    let file = |place: usize, ending: &str| pairs.join(format!("{}.{ending}", stems[place]));
    let change = |place: usize, what: &dyn Fn(&mut serde_json::Value)| {
        let mut view = serde_json::from_slice(&fs::read(file(place, "json")).unwrap()).unwrap();
        what(&mut view);
        fs::write(file(place, "json"), view.to_string()).unwrap();
    };
    let secret = pairs.parent().unwrap().join("secret");
    fs::write(&secret, content(3)).unwrap();

    let mut eml = fs::read(file(0, "eml")).unwrap();
    let middle = eml.len() / 2;
    eml[middle] ^= 1;
    fs::write(file(0, "eml"), &eml).unwrap();
    fs::write(file(1, "json"), "{\"postern_mail\":1").unwrap();
    change(2, &|view| view["postern_mail"] = 2.into());
    fs::remove_file(file(3, "eml")).unwrap();
    fs::remove_file(file(4, "json")).unwrap();
    fs::remove_file(file(5, "eml")).unwrap();
    symlink(&secret, file(5, "eml")).unwrap();
    // A second mail after a bare LF, with correct checksums.
    let smuggled = b"Subject: x\r\n\r\n\n.\r\nMAIL FROM:<evil@x.example>\r\n";
    fs::write(file(6, "eml"), smuggled).unwrap();
    change(6, &|view| {
        view["content"]["size"] = smuggled.len().into();
        view["content"]["crc32"] = format!("{:08x}", crc32fast::hash(smuggled)).into();
    });
    change(7, &|view| {
        view["recipients"][0]["address"] = "x@y.example>\r\nRCPT TO:<z@y.example".into()
    });
    fs::write(file(8, "json"), vec![b' '; (4 << 20) + 1]).unwrap();
    fs::write(pairs.join(format!("{}.moving", stems[9])), "\n").unwrap();
    change(10, &|view| view["content"]["size"] = u64::MAX.into());
    let expected = [
        "not what was exported",
        "JSON",
        "version 2",
        "eml is missing",
        "json is missing",
        "cannot be read",
        "CR or LF by itself",
        "recipient 1",
        "longer than",
        "--move has not finished",
        "not what was exported",
    ];
    let here = Sink::start("");
    let new = Appliance::start(&[("MTA_SMART_RELAY", &here.relay())]);
    let (code, out, complaint) = said(&tool(&new, &["import", directory]));
    assert_eq!(code, 65, "{out}{complaint}");
    for (stem, words) in stems.iter().zip(expected) {
        let line = out
            .lines()
            .find(|line| line.starts_with(stem.as_str()))
            .unwrap_or_else(|| panic!("{stem}: {out}"));
        // A link is not a regular file, so it is not seen at all.
        assert!(line.contains(words) || line.contains("eml is missing"), "{words}: {line}");
    }
    assert!(out.contains("5 messages imported.") && out.contains("11 refused"), "{out}");
    new.until_empty();
    here.mails(5);
    assert!(fs::exists(&secret).unwrap());
    assert_eq!(fs::read_dir(pairs.join("imported")).unwrap().count(), 10);
    // Once corrected, they are imported.
    fs::remove_file(pairs.join(format!("{}.moving", stems[9]))).unwrap();
    let (code, out, _) = said(&tool(&new, &["import", directory]));
    assert_eq!(code, 65);
    assert!(out.contains("1 message imported."), "{out}");
}

#[test]
fn plain_files_come_in_with_an_envelope_from_the_command_line() {
    let here = Sink::start("");
    let new = Appliance::start(&[("MTA_SMART_RELAY", &here.relay())]);
    let folder = tempfile::tempdir_in(new.path("run")).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let files = open_folder(&folder, "files");
    let directory = files.to_str().unwrap();
    fs::write(files.join("from-postcat.eml"), "Subject: old\n\n.\nGrüße\nno line end").unwrap();
    fs::write(files.join("bare.eml"), "Subject: x\r\n\r\na\rb\r\n").unwrap();
    let (code, out, _) = said(&tool(&new, &["import", directory]));
    assert_eq!(code, 65);
    assert!(out.contains("--from and --to"), "{out}");
    let (code, _, complaint) =
        said(&tool(&new, &["import", directory, "--from", "x", "--to", "b@there.example"]));
    assert_eq!(code, 64, "{complaint}");
    let given = ["import", directory, "--from", "<>", "--to", "b@there.example,c@there.example"];
    let (code, out, complaint) = said(&tool(&new, &given));
    assert_eq!(code, 65, "{out}{complaint}");
    assert!(out.contains("bare refused") && out.contains("1 message imported."), "{out}");
    let letter = &here.mails(1)[0];
    assert_eq!(
        (letter.from.as_str(), letter.to.as_slice()),
        ("", &["b@there.example".to_owned(), "c@there.example".to_owned()][..])
    );
    assert_eq!(letter.text(), "Subject: old\r\n\r\n.\r\nGrüße\r\nno line end\r\n");
}

#[test]
fn nothing_is_written_over_and_nothing_outside_is_touched() {
    let down = Sink::start("mail=450");
    let old = quiet(&down);
    send(&old, 1..4);
    let ids: Vec<String> = old
        .queue(&["list"])
        .iter()
        .map(|message| message["id"].as_str().unwrap().to_owned())
        .collect();
    let folder = tempfile::tempdir_in(old.path("run")).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let pairs = open_folder(&folder, "pairs");
    let directory = pairs.to_str().unwrap();
    let outside = folder.path().join("outside");
    fs::write(&outside, "mine").unwrap();
    fs::write(pairs.join(format!("{}.eml", ids[0])), "somebody's").unwrap();
    symlink(&outside, pairs.join(format!(".{}.eml.part", ids[1]))).unwrap();
    symlink(&outside, pairs.join(format!("{}.json", ids[2]))).unwrap();
    let (code, out, complaint) = said(&tool(&old, &["export", directory, "--all", "--move"]));
    assert_ne!(code, 0, "{out}{complaint}");
    assert_eq!(fs::read(pairs.join(format!("{}.eml", ids[0]))).unwrap(), b"somebody's");
    assert_eq!(fs::read(&outside).unwrap(), b"mine");
    assert!(out.contains(&format!("{} conflict", ids[0])), "{out}{complaint}");
    // What was not exported is in the queue, and not held.
    let left = old.queue(&["list"]);
    assert!(
        left.iter().any(|message| message["id"] == ids[0].as_str() && message["held"] == false),
        "{left:?}"
    );
    assert!(!left.iter().any(|message| message["id"] == ids[1].as_str()), "{left:?}");
    // Only the operator may export and import.
    assert_eq!(old.get_as(&format!("/api/v1/queue/{}/mail", ids[0]), "").0, "403");
    assert!(!Path::new(&pairs.join(format!("{}.moving", ids[0]))).exists());
}
