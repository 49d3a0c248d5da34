#!/usr/bin/env python3
"""Submission with everything on: Postern compared with Postfix, Dovecot and OpenDKIM.

    benches/submission.py                     all scenarios, three rounds: writes benches/results/submission.json and
                                              docs/performance.md
    benches/submission.py --scenario kept     one scenario, printed only (kept, new, far)
    benches/submission.py --rounds 1          fewer rounds; the median counts

A load generator logs in after STARTTLS with AUTH PLAIN, the server signs with DKIM (RSA 2048), and sends to a sink that it logs in to
after STARTTLS with a verified certificate: 5 kB, 20 sessions, kept (`kept`) or a connection for each mail (`new`). The password is
the same hash ($6$) on both sides, the certificate the same one. CPU is user and system time of all processes of the servers divided by
the mails; that of the load generator and the sink is shown beside it. The machine has a certain number of processors for all of
them: "free of load" is the rate that the server would have if it had the CPU time of the load tools too.

`far` is a next hop 50 ms away: a proxy delays each direction by 25 ms. No TLS, no login, no signature, both servers at their defaults.

Needs root, Postfix, Dovecot, OpenDKIM, openssl, and `cargo build --release --bin postern --example submit --example load`.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import page
from servers import TARGET, Failure, Postern, Postfix, _family_cpu, free_port, postfix_version, wait_for_greeting
from tools import own_binary

SUBMIT = TARGET / "release/examples/submit"
MAILS = {"kept": {"postfix": 1500, "postern": 6000}, "new": {"postfix": 600, "postern": 1500}, "far": {"postfix": 800, "postern": 2000}}
TITLES = {
    "kept": "login, TLS, signature; 5 kB, 20 sessions kept",
    "new": "login, TLS, signature; 5 kB, a connection for each mail",
    "far": "a next hop 50 ms away; 5 kB, plain",
}
TIMEOUT = 300

POSTFIX_MORE = """\
mynetworks = 192.0.2.1/32
smtpd_tls_security_level = may
smtpd_tls_cert_file = {tls}/server.pem
smtpd_tls_key_file = {tls}/server.key
smtpd_sasl_auth_enable = yes
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {work}/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_milters = inet:127.0.0.1:{milter}
milter_default_action = tempfail
relayhost = [localhost]:{sink}
smtp_tls_security_level = verify
smtp_tls_CAfile = {tls}/ca.pem
smtp_tls_connection_reuse = yes
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = static:user:secret
smtp_sasl_security_options = noanonymous
"""

DOVECOT = """\
base_dir = {work}/dovecot
log_path = {work}/dovecot.log
protocols =
ssl = no
auth_mechanisms = plain
disable_plaintext_auth = no
passdb {{
 driver = passwd-file
 args = scheme=CRYPT {work}/users
}}
userdb {{
 driver = static
 args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
 unix_listener {work}/auth {{
  mode = 0666
 }}
}}
"""

OPENDKIM = """\
Syslog no
Mode s
Domain load.example
Selector postern
KeyFile {tls}/dkim/load.example/postern.pem
Socket inet:{milter}@127.0.0.1
Canonicalization relaxed/relaxed
OversignHeaders From,To,Subject,Date
InternalHosts 0.0.0.0/0
RequireSafeKeys no
UserID root
"""


def shell(*command):
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def make_keys(directory):
    """An authority, a certificate for 127.0.0.1 and localhost, a DKIM key."""
    (directory / "dkim/load.example").mkdir(parents=True)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    shell("openssl", "req", "-x509", *curve, "-days", 30, "-subj", "/CN=bench authority", "-keyout", directory / "ca.key", "-out", directory / "ca.pem")
    shell("openssl", "req", *curve, "-subj", "/CN=localhost", "-keyout", directory / "server.key", "-out", directory / "server.csr")
    extensions = directory / "extensions"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    shell("openssl", "x509", "-req", "-in", directory / "server.csr", "-CA", directory / "ca.pem", "-CAkey", directory / "ca.key", "-CAcreateserial",
          "-days", 30, "-extfile", extensions, "-out", directory / "server.pem")
    shell("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", directory / "dkim/load.example/postern.pem")
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (directory / "dkim/load.example/postern.pem").chmod(0o600)


def password_hash():
    return subprocess.run(["openssl", "passwd", "-6", "secret"], check=True, capture_output=True, text=True).stdout.strip()


class FullPostfix(Postfix):
    """With Dovecot for passwords and OpenDKIM for signatures."""

    def __init__(self, work, sink, tls, hashed):
        super().__init__(work, sink)
        self.milter, self.others = free_port(), []
        with open(self.config / "main.cf", "a") as config:
            config.write(POSTFIX_MORE.format(work=work, tls=tls, milter=self.milter, sink=sink))
        with open(self.config / "master.cf", "a") as config:
            config.write("tlsproxy unix - - n - 0 tlsproxy\n")
        (work / "users").write_text(f"user:{hashed}\n")
        (work / "users").chmod(0o644)
        (work / "dovecot.conf").write_text(DOVECOT.format(work=work))
        (work / "opendkim.conf").write_text(OPENDKIM.format(tls=tls, milter=self.milter))

    def start(self):
        for command in (["dovecot", "-F", "-c", self.work / "dovecot.conf"], ["opendkim", "-f", "-x", self.work / "opendkim.conf"]):
            with open(self.work / "others.log", "ab") as log:
                self.others.append(subprocess.Popen(command, stdout=log, stderr=log))
        end = time.monotonic() + 20
        while not (self.work / "auth").exists():
            if time.monotonic() > end:
                raise Failure(f"dovecot does not start: {(self.work / 'others.log').read_text()}")
            time.sleep(0.05)
        super().start()

    def cpu_seconds(self):
        return super().cpu_seconds() + sum(_family_cpu(other.pid) for other in self.others)

    def stop(self):
        super().stop()
        for other in self.others:
            other.send_signal(signal.SIGTERM)
            other.wait(30)


class FullPostern(Postern):
    def __init__(self, work, sink, tls, hashed):
        super().__init__(work, sink)
        self.submission = free_port()
        self.environment |= {
            "MTA_SMTPD_TRUSTED_NETWORKS": "192.0.2.1",
            "MTA_SSL_DISABLED": "no",
            "MTA_SMTPS_PORT": str(free_port()),
            "MTA_SUBMISSION_PORT": str(self.submission),
            "MTA_VOLUME_KEY": str(tls),
            "MTA_SMTP_USERS": f"user:{hashed}",
            "MTA_DKIM_DOMAINS": "load.example",
            "MTA_SMART_RELAY_USERNAME": "user",
            "MTA_SMART_RELAY_PASSWORD": "secret",
            "MTA_SMART_RELAY_CA": f"{tls}/ca.pem",
        }

    def start(self):
        super().start()
        self.port = self.submission


def wait_for_cpu(process, what):
    """The output of a load tool as JSON."""
    try:
        out, words = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failure(f"{what} was not done after {TIMEOUT} s") from None
    if process.returncode != 0:
        raise Failure(f"{what} says: {(words + out).strip()[:500]}")
    return json.loads(out)


def start(*command):
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def measure_full(scenario, name, messages, work, tls, hashed):
    sink_port = free_port()
    sample = work / "sample.eml"
    sink = start(SUBMIT, "sink", "--listen", f"127.0.0.1:{sink_port}", "--cert", tls / "server.pem", "--key", tls / "server.key",
                 "--expect", messages, "--sample", sample)
    wait_for_greeting(sink_port, lambda: sink.poll() is None, "the sink")
    server = {"postfix": FullPostfix, "postern": FullPostern}[name](work / name, sink_port, tls, hashed)
    try:
        server.start()
        before, began = server.cpu_seconds(), time.monotonic()
        more = ["--new-connections"] if scenario == "new" else []
        source = start(SUBMIT, "send", "--to", f"127.0.0.1:{server.port}", "--ca", tls / "ca.pem", "--messages", messages, *more)
        sent, taken = wait_for_cpu(source, "the generator"), wait_for_cpu(sink, "the sink")
        # The sink waits for half a second after the last mail.
        seconds = time.monotonic() - began - 0.5
        cpu = server.cpu_seconds() - before
    finally:
        sink.kill()
        server.stop()
    if not sample.read_bytes().lower().count(b"dkim-signature:"):
        raise Failure(f"{name} does not sign")
    return result(messages, seconds, cpu, sent["cpu_seconds"] + taken["cpu_seconds"], taken["connections"])


def measure_far(name, messages, work):
    sink_port, proxy_port = free_port(), free_port()
    proxy = start(SUBMIT, "delay", "--listen", f"127.0.0.1:{proxy_port}", "--to", f"127.0.0.1:{sink_port}", "--ms", 25)
    server = {"postfix": Postfix, "postern": Postern}[name](work / name, proxy_port)
    try:
        server.start()
        before = server.cpu_seconds()
        source = start(own_binary(), "both", "--to", f"127.0.0.1:{server.port}", "--sink", f"127.0.0.1:{sink_port}", "--messages", messages,
                       "--size", 5120, "--sessions", 20)
        told = wait_for_cpu(source, "the load generator")
        cpu = server.cpu_seconds() - before
    finally:
        proxy.kill()
        server.stop()
    used = told["generator"]["cpu_seconds"] + told["sink"]["cpu_seconds"]
    return result(messages, told["seconds"], cpu, used, told["sink"]["connections"])


def result(messages, seconds, cpu, tools, connections):
    cores = os.cpu_count()
    rate = messages / seconds
    return {
        "mails_per_second": round(rate, 1),
        "server_cpu_ms": round(cpu * 1000 / messages, 3),
        "tools_cpu_ms": round(tools * 1000 / messages, 3),
        "tools_share": round(tools / (seconds * cores), 3),
        "busy_share": round((cpu + tools) / (seconds * cores), 3),
        # What the server alone could reach with all processors.
        "free_of_load": round(rate / max(0.01, 1 - tools / (seconds * cores)), 1),
        "connections_out": connections,
    }


def median(runs):
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


TEXT = (
    "A load generator logs in after STARTTLS (AUTH PLAIN; a `$6$` hash of 5000 rounds, the same on both sides), the server signs with DKIM "
    "(RSA 2048, relaxed/relaxed) and sends to a sink that it logs in to after STARTTLS with a verified certificate (ECDSA P-256). Postfix has "
    "its default durability, Dovecot for the passwords, OpenDKIM for the signatures, and `smtp_tls_connection_reuse=yes`; Postern its defaults. "
    "CPU of the server is that of all processes of Postfix, Dovecot and OpenDKIM, or of Postern. Generator and sink run on the same processors: "
    "*free of load* is the rate divided by the share of the machine that they leave. Where each mail has a connection of its own, Dovecot "
    "computes the hash for each login; Postern does so once in five minutes for a password that was right, and compares a keyed digest in between.",
    "*50 ms away*: no TLS, no login, no signature, both servers at their defaults, 20 sessions in; a proxy delays each direction by 25 ms.",
)


def report(found, rounds, load, work):
    """The part of docs/performance.md."""
    names = {"postfix": "Postfix", "postern": "Postern"}
    figures = (("mails_per_second", 0), ("free_of_load", 0), ("server_cpu_ms", 2), ("tools_cpu_ms", 2))
    rows = []
    for scenario, servers in found.items():
        for name, one in servers.items():
            share = f"{one['busy_share']:.0%}"
            rows.append([f"{TITLES[scenario]}: {names[name]}", *(round(one[key], digits) for key, digits in figures), share])
        ours, theirs = servers["postern"], servers["postfix"]
        ratios = [round(ours[key] / theirs[key], 1) for key in ("mails_per_second", "free_of_load")]
        rows.append(["Postern : Postfix", *ratios, round(ours["server_cpu_ms"] / theirs["server_cpu_ms"], 2), None, None])
    columns = ["", "mails/s", "free of load", "server's CPU, ms a mail", "load tools' CPU, ms a mail", "all of these, of the machine"]
    return {
        "order": 12,
        "title": "Submission: login, TLS, DKIM",
        "text": [*TEXT, f"Medians of {rounds} rounds. {load}"],
        "made": page.made(work, Postfix=postfix_version()),
        "command": "benches/submission.py",
        "tables": [{"name": "submission", "title": "Mails per second and CPU", "columns": columns, "rows": rows}],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", action="append", choices=list(MAILS))
    parser.add_argument("--only", choices=["postfix", "postern"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"))
    options = parser.parse_args()
    work = options.dir / f"postern-submission-{os.getpid()}"
    runs = {}
    try:
        work.mkdir()
        work.chmod(0o755)
        tls = work / "tls"
        make_keys(tls)
        hashed = password_hash()
        for number in range(options.rounds):
            for scenario in options.scenario or MAILS:
                for name in [options.only] if options.only else ["postfix", "postern"]:
                    place = work / f"{number}-{scenario}"
                    place.mkdir(exist_ok=True)
                    place.chmod(0o755)
                    average = os.getloadavg()[0]
                    messages = max(20, round(MAILS[scenario][name] * options.scale))
                    run = measure_far(name, messages, place) if scenario == "far" else measure_full(scenario, name, messages, place, tls, hashed)
                    run["load_average"] = average
                    print(scenario, name, json.dumps(run), flush=True)
                    runs.setdefault(scenario, {}).setdefault(name, []).append(run)
    except Failure as failure:
        sys.exit(f"submission.py: {failure}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    found = {scenario: {name: median(all_runs) for name, all_runs in servers.items()} for scenario, servers in runs.items()}
    for scenario, servers in found.items():
        print(scenario, json.dumps(servers, indent=1))
    if options.scenario or options.only:
        return
    loads = [run["load_average"] for servers in runs.values() for all_runs in servers.values() for run in all_runs]
    load = f"Load average of the machine before the runs: {min(loads):.1f} to {max(loads):.1f}."
    if max(loads) > 2 * os.cpu_count():
        load += " It did other work at the same time, which both servers got to feel: rates are below what an idle machine gives."
    page.save("submission", {**report(found, options.rounds, load, options.dir), "raw": runs})
    page.write()


if __name__ == "__main__":
    main()
