//! The conversion of 8-bit content, read by Python's `email`, an independent implementation.

use postern::mail::rewrite::seven_bit::{LINE_LONGEST, convert_bytes};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// A random leaf or composite.
fn part(depth: u32) -> Vec<u8> {
    let pick = |list: &[&str]| list[fastrand::usize(..list.len())].to_owned();
    if depth > 0 && fastrand::u8(..10) < 6 {
        if fastrand::u8(..4) == 0 {
            return [
                b"Content-Type: message/rfc822\r\n\r\nSubject: \xfc\r\n".to_vec(),
                part(depth - 1),
            ]
            .concat();
        }
        let (boundary, kind) = (
            format!("=_{}", fastrand::u64(..)),
            pick(&["mixed", "alternative", "related", "encrypted"]),
        );
        let label = pick(&["", "Content-Transfer-Encoding: 8bit\r\n"]);
        let mut text = format!(
            "Content-Type: \
            multipart/{kind};\r\n\tboundary=\"{boundary}\"\r\n{label}\r\n\
            preamble\r\n"
        )
        .into_bytes();
        for _ in 0..fastrand::u8(1..4) {
            text.extend(format!("--{boundary}\r\n").bytes());
            text.extend(part(depth - 1));
            text.extend(b"\r\n");
        }
        text.extend(format!("--{boundary}--\r\nepilogue\r\n").bytes());
        return text;
    }
    let kind = pick(&[
        "",
        "Content-Type: text/plain; charset=iso-8859-1\r\n",
        "Content-Type: application/x\r\n",
        "Content-Type: image/png\r\n",
    ]);
    let label = pick(&[
        "",
        "Content-Transfer-Encoding: 8bit\r\n",
        "Content-Transfer-Encoding:\r\n 7bit\r\n",
    ]);
    let mut text = format!("{kind}{label}\r\n").into_bytes();
    for _ in 0..fastrand::u8(..6) {
        let length = fastrand::usize(..if fastrand::u8(..9) == 0 { 3000 } else { 90 });
        let any = fastrand::bool();
        text.extend((0..length).map(|_| match fastrand::u8(..) {
            // Python takes CR and LF for line ends anywhere.
            b'\r' | b'\n' | 0 => b' ',
            octet if any => octet,
            octet => b' ' + octet % 95,
        }));
        text.extend(b"\r\n");
    }
    text
}

#[test]
fn python_reads_the_same_parts() {
    let directory = tempfile::tempdir().unwrap();
    let mut pairs = String::new();
    let mut changed = 0;
    for number in 0..400 {
        let content = [b"From: a@b.example\r\nMIME-Version: 1.0\r\n".to_vec(), part(3)].concat();
        let Some(out) = convert_bytes(&content).unwrap() else { continue };
        changed += 1;
        let long = out.split(|octet| *octet == b'\n').map(<[u8]>::len).max();
        assert!(long <= Some(LINE_LONGEST), "{long:?}");
        let paths = [("before", &content), ("after", &out)].map(|(name, text)| {
            let path = directory.path().join(format!("{number}-{name}"));
            fs::write(&path, text).unwrap();
            path.display().to_string()
        });
        pairs += &format!("{} {}\n", paths[0], paths[1]);
    }
    assert!(changed > 200, "{changed}");
    let mut python = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/mime.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs the program python3");
    python.stdin.take().unwrap().write_all(pairs.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
