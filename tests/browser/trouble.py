"""A running appliance with undeliverable mail: destinations that are dead, greylist, are full, are slow, and one that works.

Needs root (port 25 on addresses of 127.0.0.0/8, as every MX host has it) and dnsmasq. `python3 trouble.py PROGRAM` starts it and
says where the page is; a test takes `Trouble` from here.
"""

import os
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path

HOSTILE = '</title><script>document.title="taken"</script><img src=x onerror=alert(1)>'
USER, PASSWORD = "operator", "s3cret"
# Domain, address of its MX host, the host's behaviour (None = it does not exist).
DESTINATIONS = [
    ("well.example", "127.0.9.1", ""),
    ("greylisting.example", "127.0.9.2", "rcpt=450"),
    ("full.example", "127.0.9.3", "rcpt=452"),
    ("slow.example", "127.0.9.4", "connect=hang"),
    ("strict.example", "127.0.9.5", "dot=554"),
    ("dead.example", "127.0.9.6", None),
]


def free_port():
    """A port that is free for TCP and UDP."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            port = stream.getsockname()[1]
            try:
                datagrams.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_until(what, ready, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(0.05)
    raise RuntimeError(f"{what}: not within {seconds} s")


def answers(address, port):
    try:
        socket.create_connection((address, port), timeout=1).close()
        return True
    except OSError:
        return False


class Trouble:
    """The appliance, its destinations and its name server."""

    def __init__(self, program, **properties):
        self.program, self.processes = Path(program).resolve(), []
        self.directory = tempfile.TemporaryDirectory(prefix="postern-trouble-")
        self.root = Path(self.directory.name)
        # The core drops its privileges, and must have access to its volume all the same.
        os.chmod(self.root, 0o755)
        self.smtp, self.http, self.dns = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "MTA_HOSTNAME": "mta.shop.example",
            "MTA_LISTEN": "127.0.0.1",
            "MTA_SMTP_PORT": str(self.smtp),
            "MTA_UI_PORT": str(self.http),
            "MTA_SMTPD_TRUSTED_NETWORKS": "127.0.0.0/8",
            "MTA_LOCAL_MAIL_HOSTS": "127.0.0.0/8",
            "MTA_DNS_SERVERS": f"127.0.0.1:{self.dns}",
            "MTA_VOLUME_DATA": str(self.root / "data"),
            "MTA_RUN_DIR": str(self.root / "run"),
            "MTA_USERNAME": USER,
            "MTA_PASSWORD": PASSWORD,
        } | {f"MTA_{name.upper()}": value for name, value in properties.items()}
        (self.root / "data").mkdir()
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self):
        names = [f"--address=/mx.{domain}/{address}" for domain, address, _ in DESTINATIONS]
        names += [f"--mx-host={domain},mx.{domain}" for domain, _, _ in DESTINATIONS]
        names += ["--txt-record=shop.example,v=spf1 a:mta.shop.example ~all", "--txt-record=_dmarc.shop.example,v=DMARC1; p=none",
                  "--txt-record=postern._domainkey.shop.example,v=DKIM1; k=rsa; p=AAAA", "--host-record=mta.shop.example,192.0.2.77"]
        self._start(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces",
                     "--listen-address=127.0.0.1", f"--port={self.dns}", "--user=root", *names], "dns")
        wait_until("the name server", lambda: answers("127.0.0.1", self.dns))
        for domain, address, fails in DESTINATIONS:
            if fails is not None:
                fail = ["--fail", fails] if fails else []
                self._start([self.program, "sink", "--listen", f"{address}:25", *fail], domain)
                wait_until(domain, lambda address=address: answers(address, 25))
        self.start()

    def _start(self, command, name, **more):
        with open(self.root / f"{name}.log", "ab") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, **more))
        return self.processes[-1]

    def start(self):
        self.appliance = self._start([self.program, "init"], "appliance", env=self.environment)
        wait_until("the appliance", lambda: answers("127.0.0.1", self.smtp) and answers("127.0.0.1", self.http))

    def stop(self):
        self.appliance.terminate()
        self.appliance.wait(60)
        self.processes.remove(self.appliance)

    def log(self):
        return (self.root / "appliance.log").read_text(errors="replace")

    def send(self, count, domain, sender="orders@shop.example", subject="Your order {n}", text="Thank you for your order.\n"):
        """Mails to different people of a domain."""
        with smtplib.SMTP("127.0.0.1", self.smtp, timeout=60) as client:
            for n in range(count):
                mail = EmailMessage()
                mail["From"], mail["To"] = f"Shop <{sender}>", f"customer{n}@{domain}"
                mail["Subject"] = subject.format(n=n)
                mail.set_content(text)
                client.send_message(mail, sender, [f"customer{n}@{domain}"])

    def send_letter(self):
        """A mail with markup, an attachment, several recipients, and a hostile subject."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "Evil <evil@shop.example>", "a@dead.example", HOSTILE
        mail["X-Hostile"] = HOSTILE
        mail.set_content("Good evening,\n\n" + HOSTILE + "\n\nhttps://tracker.example/pixel.gif\n")
        mail.add_alternative(f"<p>Good evening</p>{HOSTILE}<img src=https://tracker.example/pixel.gif>", subtype="html")
        mail.add_attachment(b"%PDF-1.7 nothing", maintype="application", subtype="pdf", filename="bill<b>.pdf")
        with smtplib.SMTP("127.0.0.1", self.smtp, timeout=60) as client:
            client.send_message(mail, "evil@shop.example", ["a@dead.example", "b@greylisting.example", "c@well.example"])

    def send_all(self):
        self.send(40, "well.example")
        self.send(28, "greylisting.example", subject="Order {n} is on its way")
        self.send(9, "full.example", sender="newsletter@shop.example", subject="News {n}")
        self.send(4, "slow.example")
        self.send(3, "strict.example")
        self.send(61, "dead.example", sender="newsletter@shop.example", subject="News {n}")
        self.send_letter()

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # A child of the appliance may still write its last lines.
        for _ in range(50):
            try:
                self.directory.cleanup()
                return
            except OSError:
                time.sleep(0.1)


if __name__ == "__main__":
    trouble = Trouble(sys.argv[1])
    trouble.send_all()
    print(f"{trouble.url}  user {USER}, password {PASSWORD}  (ends with ^C)", flush=True)
    try:
        trouble.appliance.wait()
    except KeyboardInterrupt:
        pass
    trouble.close()
