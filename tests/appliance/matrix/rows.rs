//! The rows, in the order of the founding document's table.

use super::sites::{Fault, Site};
use super::{Row, properties};

const KEY: &str = "Error: failed to mount key volume.";
const LOG: &str = "Error: failed to mount log share.";
const NO_LOG: &str = "Error: logs are enabled but the 'log' terminal is not connected.";
const PRECONFIGURE: &str = "Error: failed to preconfigure the MTA";
const START: &str = "Error: failed to start the MTA server. Please see the /var/log/appliance/log \
log file in MTA for more details on the failure";
const UI_BACKEND: &str = "Error: failed to initialize the UI backend";
const KEYS: &str = "Error: couldn't find ssl keys on the key volume!";
const UNDEFINED: &str = "Error: ssl_disabled=no, but ssl key files are not defined!";
const BOTH: &str =
    "Error: both the key volume and the 'fs' terminal are connected; use one of them.";
const FS: &str = "Error: failed to mount the 'fs' terminal.";
const DATA: &str = "Error: failed to mount data volume.";
const ESCAPES: &str = "Error: maillog_filename must stay inside the log share";

/// A key volume in the box, and TLS.
const TLS: &[(&str, &str)] = &[("MTA_VOLUME_KEY", "{box}/key"), ("MTA_SSL_DISABLED", "no")];

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Row> {
    [KEY_VOLUMES, KEY_PAIRS, LOG_SHARES, EXPORTS, DATA_VOLUMES, properties::ALL, OTHERS]
        .into_iter()
        .flatten()
}

const KEY_VOLUMES: &[Row] = &[
    Row {
        what: "the key volume is not there",
        vars: &[("MTA_VOLUME_KEY", "{box}/nothing")],
        site: Site::Plain,
        line: KEY,
        code: 66,
        cause: &["volume_key is {box}/nothing", "unset MTA_VOLUME_KEY"],
    },
    Row {
        what: "the key volume is a device that is not there",
        vars: &[("MTA_VOLUME_KEY", "/dev/postern-nosuch")],
        site: Site::Plain,
        line: KEY,
        code: 66,
        cause: &["devices: [\"/dev/postern-nosuch\"]"],
    },
    Row {
        what: "the key volume is a file",
        vars: &[("MTA_VOLUME_KEY", "{box}/file")],
        site: Site::File,
        line: KEY,
        code: 66,
        cause: &["is not a directory"],
    },
    Row {
        what: "the key volume is a device without a file system",
        vars: &[("MTA_VOLUME_KEY", "{box}/device")],
        site: Site::BlankDevice,
        line: KEY,
        code: 69,
        cause: &["volume_key is {box}/device: ", "no file system that is known here"],
    },
    Row {
        what: "key volume and terminal fs",
        vars: &[("MTA_VOLUME_KEY", "/keys"), ("MTA_TERMINAL_FS", "/mnt/keys")],
        site: Site::Plain,
        line: BOTH,
        code: 64,
        cause: &["unset MTA_TERMINAL_FS"],
    },
];

const KEY_PAIRS: &[Row] = &[
    Row {
        what: "the key volume is empty",
        vars: TLS,
        site: Site::NoKeys,
        line: KEYS,
        code: 66,
        cause: &["server.key (ssl_key_file)", "MTA_SSL_KEY_FILE"],
    },
    Row {
        what: "key pair: KeyMissing",
        vars: TLS,
        site: Site::Keys(Fault::KeyMissing),
        line: KEYS,
        code: 66,
        cause: &["server.key (ssl_key_file): No such file", "MTA_SSL_KEY_FILE"],
    },
    Row {
        what: "key pair: CertificateMissing",
        vars: TLS,
        site: Site::Keys(Fault::CertificateMissing),
        line: KEYS,
        code: 66,
        cause: &["server.pem (ssl_cert_file): No such file", "MTA_SSL_CERT_FILE"],
    },
    Row {
        what: "key pair: KeyEmpty",
        vars: TLS,
        site: Site::Keys(Fault::KeyEmpty),
        line: KEYS,
        code: 66,
        cause: &["server.key (ssl_key_file) is empty"],
    },
    Row {
        what: "key pair: CertificateEmpty",
        vars: TLS,
        site: Site::Keys(Fault::CertificateEmpty),
        line: KEYS,
        code: 66,
        cause: &["server.pem (ssl_cert_file) is empty"],
    },
    Row {
        what: "key pair: KeyGarbage",
        vars: TLS,
        site: Site::Keys(Fault::KeyGarbage),
        line: KEYS,
        code: 66,
        cause: &["the key file holds no private key"],
    },
    Row {
        what: "key pair: CertificateGarbage",
        vars: TLS,
        site: Site::Keys(Fault::CertificateGarbage),
        line: KEYS,
        code: 66,
        cause: &["the certificate file holds no certificate"],
    },
    Row {
        what: "key pair: Passphrase",
        vars: TLS,
        site: Site::Keys(Fault::Passphrase),
        line: KEYS,
        code: 66,
        cause: &["protected by a passphrase", "openssl pkey"],
    },
    Row {
        what: "key pair: Mismatch",
        vars: TLS,
        site: Site::Keys(Fault::Mismatch),
        line: KEYS,
        code: 66,
        cause: &["the private key does not belong to the certificate"],
    },
    Row {
        what: "key pair: Expired",
        vars: TLS,
        site: Site::Keys(Fault::Expired),
        line: KEYS,
        code: 66,
        cause: &["the certificate expired at 2001-02-03"],
    },
    Row {
        what: "key pair: NotYetValid",
        vars: TLS,
        site: Site::Keys(Fault::NotYetValid),
        line: KEYS,
        code: 66,
        cause: &["the certificate is not valid before 2100-01-01"],
    },
    Row {
        what: "key pair: Swapped",
        vars: TLS,
        site: Site::Keys(Fault::Swapped),
        line: KEYS,
        code: 66,
        cause: &["swap them"],
    },
    Row {
        what: "key pair: KeyIsDirectory",
        vars: TLS,
        site: Site::Keys(Fault::KeyIsDirectory),
        line: KEYS,
        code: 66,
        cause: &["server.key (ssl_key_file)"],
    },
    Row {
        what: "key pair: KeyUnreadable",
        vars: TLS,
        site: Site::Keys(Fault::KeyUnreadable),
        line: KEYS,
        code: 66,
        cause: &["server.key (ssl_key_file): Permission denied", "let it be readable"],
    },
    Row {
        what: "the key's name leaves the volume",
        vars: &[
            ("MTA_VOLUME_KEY", "{box}/key"),
            ("MTA_SSL_DISABLED", "no"),
            ("MTA_SSL_KEY_FILE", "../x"),
        ],
        site: Site::Keys(Fault::None),
        line: KEYS,
        code: 66,
        cause: &["ssl_key_file is '../x', which leaves the key volume"],
    },
    Row {
        what: "the key's name is that of a file elsewhere",
        vars: &[
            ("MTA_VOLUME_KEY", "{box}/key"),
            ("MTA_SSL_DISABLED", "no"),
            ("MTA_SSL_KEY_FILE", "/etc/hostname"),
        ],
        site: Site::Keys(Fault::None),
        line: KEYS,
        code: 66,
        cause: &[
            "{box}/key/etc/hostname (ssl_key_file): No such file",
            "ssl_key_file is a path below the key volume",
        ],
    },
    Row {
        what: "terminal fs holds no keys",
        vars: &[("MTA_TERMINAL_FS", "{box}/key"), ("MTA_SSL_DISABLED", "no")],
        site: Site::NoKeys,
        line: KEYS,
        code: 66,
        cause: &["{box}/key/server.key (ssl_key_file): No such file"],
    },
    Row {
        what: "TLS without a place for keys",
        vars: &[("MTA_SSL_DISABLED", "no")],
        site: Site::Plain,
        line: UNDEFINED,
        code: 64,
        cause: &["MTA_VOLUME_KEY", "MTA_SSL_DISABLED=yes"],
    },
    Row {
        what: "TLS, and terminal fs is nowhere",
        vars: &[("MTA_SSL_DISABLED", "no"), ("MTA_TERMINAL_FS", "0.255.255.255:/keys")],
        site: Site::Plain,
        line: UNDEFINED,
        code: 64,
        cause: &["MTA_TERMINAL_FS"],
    },
];

const LOG_SHARES: &[Row] = &[
    Row {
        what: "logs without a terminal",
        vars: &[("MTA_LOGS_ENABLED", "yes")],
        site: Site::Plain,
        line: NO_LOG,
        code: 64,
        cause: &["MTA_LOGS_ENABLED=yes needs MTA_TERMINAL_LOG"],
    },
    Row {
        what: "logs, and the terminal is nowhere",
        vars: &[("MTA_LOGS_ENABLED", "yes"), ("MTA_TERMINAL_LOG", "//0.255.255.255/share")],
        site: Site::Plain,
        line: NO_LOG,
        code: 69,
        cause: &["terminal log is not connected: 0.255.255.255 is 0.255.255.255"],
    },
    Row {
        what: "logs, and the terminal does not resolve",
        vars: &[("MTA_LOGS_ENABLED", "yes"), ("MTA_TERMINAL_LOG", "nas.invalid")],
        site: Site::Plain,
        line: NO_LOG,
        code: 69,
        cause: &["nas.invalid does not resolve"],
    },
    Row {
        what: "the log share is a path that is not there",
        vars: &[("MTA_LOGS_ENABLED", "yes"), ("MTA_TERMINAL_LOG", "{box}/nothing")],
        site: Site::Plain,
        line: LOG,
        code: 69,
        cause: &["terminal_log is {box}/nothing"],
    },
    Row {
        what: "the log share is a file",
        vars: &[("MTA_LOGS_ENABLED", "yes"), ("MTA_TERMINAL_LOG", "{box}/file")],
        site: Site::File,
        line: LOG,
        code: 69,
        cause: &["it is not a directory"],
    },
    Row {
        what: "the log share is not writable",
        vars: &[("MTA_LOGS_ENABLED", "yes"), ("MTA_TERMINAL_LOG", "/sys/kernel")],
        site: Site::Plain,
        line: LOG,
        code: 69,
        cause: &["is not writable for uid", "is a mounted share, mount it with uid="],
    },
    Row {
        what: "the log share takes a right to mount",
        vars: &[("MTA_LOGS_ENABLED", "yes"), ("MTA_TERMINAL_LOG", "//127.0.0.1/share")],
        site: Site::Plain,
        line: LOG,
        code: 69,
        cause: &["cap_add: [SYS_ADMIN]"],
    },
    Row {
        what: "maillog_filename leaves the share",
        vars: &[("MTA_MAILLOG_FILENAME", "/logs/../../x")],
        site: Site::Plain,
        line: ESCAPES,
        code: 64,
        cause: &["MTA_MAILLOG_FILENAME must not contain '..'"],
    },
];

const EXPORTS: &[Row] = &[
    Row {
        what: "terminal fs is a path that is not there",
        vars: &[("MTA_TERMINAL_FS", "{box}/nothing")],
        site: Site::Plain,
        line: FS,
        code: 69,
        cause: &["terminal_fs is {box}/nothing"],
    },
    Row {
        what: "terminal fs is a file",
        vars: &[("MTA_TERMINAL_FS", "{box}/file")],
        site: Site::File,
        line: FS,
        code: 69,
        cause: &["it is not a directory"],
    },
    Row {
        what: "terminal fs takes a right to mount",
        vars: &[("MTA_TERMINAL_FS", "127.0.0.1:/keys")],
        site: Site::Plain,
        line: FS,
        code: 69,
        cause: &["cap_add: [SYS_ADMIN]"],
    },
];

const DATA_VOLUMES: &[Row] = &[
    Row {
        what: "the data volume cannot be made",
        vars: &[("MTA_VOLUME_DATA", "{box}/no/such")],
        site: Site::Plain,
        line: DATA,
        code: 73,
        cause: &["{box}/no/such"],
    },
    Row {
        what: "the data volume is a file",
        vars: &[("MTA_VOLUME_DATA", "{box}/file")],
        site: Site::File,
        line: DATA,
        code: 73,
        cause: &["{box}/file is not a directory"],
    },
    Row {
        what: "the data volume is read-only",
        vars: &[],
        site: Site::ReadOnlyData,
        line: DATA,
        code: 77,
        cause: &[
            "{box}/data is not writable for uid",
            "Read-only file system",
            "remove ':ro'",
            "remount,rw {box}/data",
        ],
    },
    Row {
        what: "the data volume is read-only, for root",
        vars: &[],
        site: Site::ReadOnlyDataOfRoot,
        line: DATA,
        code: 77,
        cause: &["{box}/data is not writable for uid", "Read-only file system", "remove ':ro'"],
    },
    Row {
        what: "the data volume is a device that is not there",
        vars: &[("MTA_VOLUME_DATA", "/dev/postern-nosuch")],
        site: Site::Plain,
        line: DATA,
        code: 73,
        cause: &["no such block device here", "devices: [\"/dev/postern-nosuch\"]"],
    },
    Row {
        what: "the data volume is somebody else's",
        vars: &[],
        site: Site::StrangersData,
        line: DATA,
        code: 77,
        cause: &["Permission denied", "chown"],
    },
    Row {
        what: "the data volume is a device without a file system",
        vars: &[("MTA_VOLUME_DATA", "{box}/device")],
        site: Site::BlankDevice,
        line: DATA,
        code: 69,
        cause: &["volume_data is {box}/device: ", "mkfs.ext4"],
    },
];

const OTHERS: &[Row] = &[
    Row {
        what: "smtp_port is taken",
        vars: &[],
        site: Site::Taken(12925),
        line: START,
        code: 69,
        cause: &["smtp_port=12925 cannot be opened", "another program listens there"],
    },
    Row {
        what: "smtps_port is taken",
        vars: TLS,
        site: Site::TakenWithKeys(12965),
        line: START,
        code: 69,
        cause: &["smtps_port=12965 cannot be opened", "another program listens there"],
    },
    Row {
        what: "ui_port is taken",
        vars: &[],
        site: Site::Taken(12980),
        line: UI_BACKEND,
        code: 69,
        cause: &["ui_port=12980 cannot be opened", "another program listens there"],
    },
    Row {
        what: "an address that is not ours",
        vars: &[("MTA_LISTEN", "203.0.113.77")],
        site: Site::Plain,
        line: START,
        code: 69,
        cause: &["an address of property listen is not this machine's"],
    },
    Row {
        what: "another Postern has the run directory",
        vars: &[],
        site: Site::ClaimedRunDir,
        line: PRECONFIGURE,
        code: 69,
        cause: &["another Postern uses run_dir", "MTA_RUN_DIR"],
    },
    Row {
        what: "a gateway that is this machine",
        vars: &[("MTA_TERMINAL_NET", "127.0.0.1")],
        site: Site::Plain,
        line: PRECONFIGURE,
        code: 69,
        cause: &["MTA_TERMINAL_NET is '127.0.0.1'", "that is an address of this machine"],
    },
    Row {
        what: "a gateway without the right to set routes",
        vars: &[("MTA_TERMINAL_NET", "203.0.113.77")],
        site: Site::Plain,
        line: PRECONFIGURE,
        code: 77,
        cause: &["MTA_TERMINAL_NET is '203.0.113.77'", "cap_add: [NET_ADMIN]"],
    },
];
