//! Pairs of every form that openssl writes, and all their possible errors.

use crate::support::keys::{Authority, EC, ED25519, RSA, read};
use postern::ground::clock;
use postern::ground::tls::{CHAIN_MAX, KEY_MAX, KeyPair, PairError};

/// 1 January 2049, when all certificates of the authority expire.
const END: u64 = 2_493_072_000;

fn pair(key: &[u8], chain: &[u8]) -> Result<KeyPair, PairError> {
    KeyPair::from_pem(key, chain, clock::now())
}

#[test]
fn keys_of_every_form_are_read() {
    let authority = Authority::new();
    for (kind, form) in [(RSA, "RSA PRIVATE KEY"), (EC, "EC PRIVATE KEY"), (ED25519, "")] {
        let issued = authority.issue("server", kind, "mail.example");
        let chain = read(&issued.chain);
        let modern = pair(&read(&issued.key), &chain).unwrap();
        assert_eq!(
            (modern.names(), modern.not_after()),
            (&["mail.example".to_owned(), "127.0.0.1".to_owned()][..], END)
        );
        if !form.is_empty() {
            authority.openssl(&["pkey", "-in", "server.key", "-traditional", "-out", "old.key"]);
            let old = authority.read("old.key");
            assert!(
                String::from_utf8(old.clone())
                    .unwrap()
                    .contains(&format!("-----BEGIN {form}-----"))
            );
            assert!(pair(&old, &chain).unwrap() == modern, "{form}");
        }
    }
    // As `openssl ecparam -genkey` writes it: the curve in a section of its own before the key.
    authority.openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-out", "curve.key"]);
    authority.openssl(&[
        "req",
        "-x509",
        "-config",
        "conf",
        "-key",
        "curve.key",
        "-subj",
        "/CN=curve.example",
        "-out",
        "curve.pem",
    ]);
    let curve = pair(&authority.read("curve.key"), &authority.read("curve.pem")).unwrap();
    assert_eq!(curve.names(), ["curve.example"]);
}

#[test]
fn a_certificate_signed_by_its_own_key_the_old_way_is_taken() {
    // `openssl x509 -req -signkey` makes version 1 of X.509, which some libraries do not support.
    let authority = Authority::new();
    authority.make_key("own.key", RSA);
    authority.openssl(&[
        "req",
        "-new",
        "-config",
        "conf",
        "-key",
        "own.key",
        "-subj",
        "/CN=own.example",
        "-out",
        "own.csr",
    ]);
    authority.openssl(&[
        "x509", "-req", "-days", "365", "-in", "own.csr", "-signkey", "own.key", "-out", "own.pem",
    ]);
    assert!(
        authority.openssl(&["x509", "-in", "own.pem", "-noout", "-text"]).contains("Version: 1 ")
    );
    assert_eq!(
        pair(&authority.read("own.key"), &authority.read("own.pem")).unwrap().names(),
        ["own.example"]
    );
}

#[test]
fn both_in_one_file_is_fine_and_a_renewal_is_another_pair() {
    let authority = Authority::new();
    let issued = authority.issue("server", EC, "mail.example");
    let (key, chain) = (read(&issued.key), read(&issued.chain));
    let first = pair(&key, &chain).unwrap();
    let both = [&key[..], &chain[..]].concat();
    assert!(pair(&both, &both).unwrap() == first);
    let windows = String::from_utf8(both).unwrap().replace('\n', "\r\n");
    assert!(pair(windows.as_bytes(), windows.as_bytes()).unwrap() == first);
    let renewed = authority.issue("server", EC, "mail.example");
    assert!(pair(&read(&renewed.key), &read(&renewed.chain)).unwrap() != first);
}

#[test]
fn a_key_with_a_passphrase_is_told_how_to_lose_it() {
    let authority = Authority::new();
    let issued = authority.issue("server", RSA, "mail.example");
    let chain = read(&issued.chain);
    authority.openssl(&[
        "pkey",
        "-in",
        "server.key",
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        "new.key",
    ]);
    authority.openssl(&[
        "rsa",
        "-in",
        "server.key",
        "-traditional",
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        "old.key",
    ]);
    assert!(
        String::from_utf8(authority.read("old.key")).unwrap().contains("Proc-Type: 4,ENCRYPTED")
    );
    for file in ["new.key", "old.key"] {
        let error = pair(&authority.read(file), &chain).unwrap_err();
        assert_eq!(error, PairError::EncryptedKey, "{file}");
        // The command in the message, run unchanged.
        let text = error.to_string();
        let command = text
            .split_once("openssl ")
            .unwrap()
            .1
            .replace("protected.key", file)
            .replace("server.key", "plain.key");
        let mut words: Vec<&str> = command.split(' ').collect();
        words.extend(["-passin", "pass:secret"]);
        authority.openssl(&words);
        assert!(pair(&authority.read("plain.key"), &chain).is_ok());
    }
}

#[test]
fn what_is_wrong_is_said() {
    let authority = Authority::new();
    let issued = authority.issue("server", EC, "mail.example");
    let (key, chain) = (read(&issued.key), read(&issued.chain));
    authority.make_key("other.key", EC);
    let other = authority.read("other.key");
    let leaf_last = [authority.read("intermediate.pem"), chain.clone()].concat();
    authority.openssl(&["pkey", "-in", "server.key", "-outform", "DER", "-out", "server.der"]);
    let der = authority.read("server.der");
    authority.openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:1024",
        "-out",
        "short.key",
    ]);
    authority.openssl(&["genpkey", "-algorithm", "ED448", "-out", "ed448.key"]);
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    let torn = text(&key).replace("-----END PRIVATE KEY-----", "");
    let smudged = text(&key).replacen("M", "§", 1);
    let smudged_chain = text(&chain).replacen("\nM", "\n%", 1);
    let hollow = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    for (name, key, chain, start) in [
        ("empty key", &b""[..], &chain[..], "the key file holds no private key; "),
        ("binary key", &der, &chain, "the key file holds no private key; "),
        (
            "certificate as key",
            &chain,
            &chain,
            "the key file holds a certificate and no private key; ",
        ),
        (
            "swapped",
            &chain,
            &key,
            "the key file holds the certificate and the certificate file holds the key; swap them",
        ),
        (
            "torn key",
            torn.as_bytes(),
            &chain,
            "the private key is damaged: its END line is missing",
        ),
        (
            "smudged key",
            smudged.as_bytes(),
            &chain,
            "the private key is damaged: between BEGIN and END stands",
        ),
        (
            "short key",
            &authority.read("short.key"),
            &chain,
            "the private key is of a kind that cannot be used here",
        ),
        (
            "Ed448",
            &authority.read("ed448.key"),
            &chain,
            "the private key is of a kind that cannot be used here",
        ),
        (
            "DSA",
            b"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n",
            &chain,
            "the private key is of a kind",
        ),
        ("large key", &[b'x'; KEY_MAX + 1], &chain, "the key file has more than 65536 octets"),
        ("empty chain", &key, b"", "the certificate file holds no certificate; "),
        (
            "key as certificate",
            &key,
            &key,
            "the certificate file holds a private key and no certificate; ",
        ),
        (
            "smudged chain",
            &key,
            smudged_chain.as_bytes(),
            "the certificate is damaged: between BEGIN and END",
        ),
        ("hollow chain", &key, hollow, "the certificate is damaged: it is not X.509"),
        (
            "large chain",
            &key,
            &[b'x'; CHAIN_MAX + 1],
            "the certificate file has more than 262144 octets",
        ),
        (
            "long chain",
            &key,
            &chain.repeat(6),
            "the certificate file holds more than 10 certificates",
        ),
        (
            "wrong order",
            &key,
            &leaf_last,
            "the private key belongs to certificate 2 of the certificate file; put that one first",
        ),
        ("mismatch", &other, &chain, "the private key does not belong to the certificate; "),
    ] {
        let error = pair(key, chain).map(|_| "accepted").unwrap_err().to_string();
        assert!(error.starts_with(start), "{name}: {error}");
        assert!(!error.contains('\n') && error.len() < 300, "{name}: {error}");
    }
}

#[test]
fn dates_are_looked_at() {
    let authority = Authority::new();
    let expired =
        authority.issue_for("expired", EC, "mail.example", "20200101000000Z", "20240229120000Z");
    let error = pair(&read(&expired.key), &read(&expired.chain)).unwrap_err();
    assert_eq!(error, PairError::Expired { since: 1_709_208_000 });
    assert!(error.to_string().starts_with("the certificate expired at 2024-"), "{error}");
    let old = KeyPair::from_pem_of_any_date(&read(&expired.key), &read(&expired.chain)).unwrap();
    assert_eq!(old.not_after(), 1_709_208_000);
    assert!(old.check_dates(1_709_208_000).is_ok() && old.check_dates(1_709_208_001).is_err());

    let early =
        authority.issue_for("early", EC, "mail.example", "20480101000000Z", "20490101000000Z");
    let error = pair(&read(&early.key), &read(&early.chain)).unwrap_err();
    assert!(
        error.to_string().starts_with("the certificate is not valid before 2048-01-01T"),
        "{error}"
    );
    // Beyond 32 bits of seconds.
    let long =
        authority.issue_for("long", EC, "mail.example", "20200101000000Z", "99991231235959Z");
    assert_eq!(pair(&read(&long.key), &read(&long.chain)).unwrap().not_after(), 253_402_300_799);
}
