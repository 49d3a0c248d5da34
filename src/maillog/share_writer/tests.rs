use super::*;
use std::os::unix::fs::MetadataExt;

/// A buffer and a share.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("share")).unwrap();
        fs::create_dir(place.path("lines")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn carrier(&self) -> Carrier {
        Carrier::new(&self.path("lines"), &self.path("share"), "/srv1/maillog").unwrap()
    }

    fn write(&self, number: u64, text: &str) {
        let path = segment::path(&self.path("lines"), number);
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("share/srv1/maillog")).unwrap_or_default()
    }

    fn left(&self) -> usize {
        segment::list(&self.path("lines")).unwrap().len()
    }
}

fn carry_all(carrier: &mut Carrier) {
    while carrier.step().unwrap() != CarryResult::Idle {}
}

#[test]
fn lines_arrive_in_order_and_old_files_go() {
    let place = Place::new();
    place.write(3, "a\nb\n");
    place.write(4, "c\nhalf a li");
    let mut carrier = place.carrier();
    carry_all(&mut carrier);
    assert_eq!((place.log().as_str(), place.left()), ("a\nb\nc\n", 1));
    place.write(4, "ne\n");
    carry_all(&mut carrier);
    // The core died while writing a line, and began another file.
    place.write(4, "torn");
    place.write(5, "e\n");
    carry_all(&mut carrier);
    assert_eq!((place.log().as_str(), place.left()), ("a\nb\nc\nhalf a line\ne\n", 1));
    assert_eq!(carrier.step().unwrap(), CarryResult::Idle);
}

/// Killed between the append and the stored position, or stopped by a full share anywhere in a
/// batch.
#[test]
fn whatever_was_appended_before_an_accident_is_not_appended_again() {
    let batch = "first\nsecond\nthird\n";
    for cut in 0..=batch.len() {
        let place = Place::new();
        place.write(1, "before\n");
        let mut carrier = place.carrier();
        carry_all(&mut carrier);
        place.write(1, batch);
        let log = place.path("share/srv1/maillog");
        fs::OpenOptions::new()
            .append(true)
            .open(&log)
            .unwrap()
            .write_all(&batch.as_bytes()[..cut])
            .unwrap();
        drop(carrier);
        carry_all(&mut place.carrier());
        assert_eq!(place.log(), format!("before\n{batch}"), "cut at {cut}");
    }
}

#[test]
fn a_torn_line_in_a_renamed_file_is_whole_in_the_next() {
    let place = Place::new();
    place.write(1, "first\n");
    let mut carrier = place.carrier();
    carry_all(&mut carrier);
    place.write(1, "second\nthird\n");
    let log = place.path("share/srv1/maillog");
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"second\nthi").unwrap();
    // It determines how far it came, and the file is renamed before it continues.
    assert_eq!(carrier.step().unwrap(), CarryResult::Found);
    fs::rename(&log, place.path("share/maillog.1")).unwrap();
    carry_all(&mut carrier);
    assert_eq!(fs::read_to_string(place.path("share/maillog.1")).unwrap(), "first\nsecond\nthi");
    assert_eq!(place.log(), "third\n");
}

#[test]
fn a_renamed_file_and_one_that_was_cut_off_are_left_alone() {
    let place = Place::new();
    let mut carrier = place.carrier();
    let log = place.path("share/srv1/maillog");
    for number in 0..100 {
        place.write(1, &format!("{number}\n"));
        carry_all(&mut carrier);
        match number % 10 {
            3 => fs::rename(&log, place.path(&format!("share/{number:02}"))).unwrap(),
            7 => {
                // As logrotate's copytruncate does.
                fs::copy(&log, place.path(&format!("share/{number:02}"))).unwrap();
                File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
            }
            _ => {}
        }
    }
    let mut names: Vec<_> =
        fs::read_dir(place.path("share")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.is_file());
    names.sort();
    let text: String =
        names.iter().map(|path| fs::read_to_string(path).unwrap()).collect::<String>()
            + &place.log();
    assert_eq!(text, (0..100).map(|number| format!("{number}\n")).collect::<String>());
}

#[test]
fn a_share_that_refuses_costs_nothing() {
    let place = Place::new();
    place.write(1, "a\n");
    let mut carrier = place.carrier();
    fs::write(place.path("share/srv1"), "a file in the way").unwrap();
    let error = carrier.step().unwrap_err();
    assert!(
        matches!(error, CarryError::Share(..))
            && error.to_string().contains("share/srv1/maillog: "),
        "{error}"
    );
    fs::remove_file(place.path("share/srv1")).unwrap();
    carry_all(&mut carrier);
    assert_eq!(place.log(), "a\n");
}

#[test]
fn there_is_one_carrier_at_a_time() {
    let place = Place::new();
    let _first = place.carrier();
    let second = Carrier::new(&place.path("lines"), &place.path("share"), "maillog");
    assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
}

#[test]
fn what_is_on_the_share_already_stays() {
    let place = Place::new();
    fs::create_dir(place.path("share/srv1")).unwrap();
    fs::write(place.path("share/srv1/maillog"), "of old\n").unwrap();
    place.write(1, "a\n");
    carry_all(&mut place.carrier());
    assert_eq!(place.log(), "of old\na\n");
    assert_eq!(
        fs::metadata(place.path("share/srv1/maillog")).unwrap().mode() & 0o777,
        0o644 & !0o022
    );
}
