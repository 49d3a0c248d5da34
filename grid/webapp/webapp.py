#!/usr/bin/env python3
"""A small web application that sends mail, for the example grid.

It does what most applications do: hands each mail to a relay nearby, in the same breath as the web
request, and has no queue of its own. Whatever happens after the relay has said 250 is the relay's
business; whatever the relay refuses is shown here, word for word.

GET  /           a form, and the log of what was sent
POST /send       sends one mail (fields: to, subject, text)
GET  /api/log    the log as JSON, newest first
GET  /health     200

WEBAPP_SMTP_HOST   the relay (default: aux, the name that terminal `in` of the MTA has on our network)
WEBAPP_SMTP_PORT   its port (default: 25)
WEBAPP_INTERVAL    seconds between two mails of the timer (default: 30; 0 = no timer)
WEBAPP_FROM        sender (default: webapp@example.com)
WEBAPP_TO          recipient of the timer's mails (default: someone@example.org)
"""

import base64
import hashlib
import html
import json
import os
import signal
import smtplib
import socket
import sys
import threading
import time
import uuid
from collections import deque
from email.message import EmailMessage
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT = 8080
# Kept, and shown on the page.
LOG_SIZE, LIST_SIZE = 200, 20
FORM_BYTES = 1024 * 1024


def setting(name, default, kind=str):
    value = os.environ.get(name) or default
    try:
        return kind(value)
    except ValueError:
        sys.exit(f"webapp: {name}={value!r} is not a number")


RELAY = setting("WEBAPP_SMTP_HOST", "aux")
RELAY_PORT = setting("WEBAPP_SMTP_PORT", 25, int)
INTERVAL = setting("WEBAPP_INTERVAL", 30, float)
SENDER = setting("WEBAPP_FROM", "webapp@example.com")
RECIPIENT = setting("WEBAPP_TO", "someone@example.org")

log = deque(maxlen=LOG_SIZE)
log_lock = threading.Lock()


class Talker(smtplib.SMTP):
    """smtplib keeps the relay's last word to itself; people want to read it (the queue id is there)."""

    last_word = ""

    def data(self, message):
        code, text = super().data(message)
        self.last_word = f"{code} {text.decode('utf-8', 'replace')}"
        return code, text


def explain(error):
    """An exception in words: what the relay answered, or why it could not be reached."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(
            f"{who}: {code} {text.decode('utf-8', 'replace')}" for who, (code, text) in error.recipients.items()
        )
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"
    if isinstance(error, socket.gaierror):
        return f"no host {RELAY!r} on my networks: {error.strerror}"
    return str(error) or type(error).__name__


def send(why, recipient, subject, text):
    """Sends one mail and notes the outcome. Returns the note."""
    began = time.time()
    message_id = f"<{uuid.uuid4()}@webapp.example.com>"
    note = {
        "time": began,
        "why": why,
        "to": recipient,
        "subject": subject,
        "message_id": message_id,
        "ok": False,
    }
    try:
        message = EmailMessage()
        # A line break in a field would be a header of the visitor's choice; EmailMessage refuses it.
        message["From"] = SENDER
        message["To"] = recipient
        message["Subject"] = subject
        message["Date"] = formatdate(began)
        message["Message-ID"] = message_id
        message.set_content(text)
        with Talker(RELAY, RELAY_PORT, timeout=20) as relay:
            relay.send_message(message)
            note["ok"] = True
            note["answer"] = relay.last_word
    except (OSError, smtplib.SMTPException, ValueError) as error:
        # A relay that hangs up after its 250 has the mail nevertheless.
        if not note["ok"]:
            note["answer"] = explain(error)
    note["seconds"] = round(time.time() - began, 3)
    with log_lock:
        log.appendleft(note)
    print(f"webapp: {'sent' if note['ok'] else 'NOT SENT'} to={recipient} id={message_id} {note['answer']}", flush=True)
    return note


def timer():
    number = 0
    while True:
        number += 1
        send("timer", RECIPIENT, f"Report {number}", f"Report {number} of the timer.\n\n.\n.. lines with dots, and ünïcödé\n")
        time.sleep(INTERVAL)


STYLE = """
:root { color-scheme: light dark; --ground: #f4f5f4; --card: #fff; --edge: #e1e5e3; --ink: #1d2624; --quiet: #5d6a66; --mark: #2f6f62; --good: #1f7a54; --bad: #b92f28 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #121716; --card: #1a211f; --edge: #2a3431; --ink: #e4eae8; --quiet: #93a29d; --mark: #2f7a6a; --good: #56c295; --bad: #f0776f } }
* { box-sizing: border-box; margin: 0 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 0 auto; padding: 20px 24px; color: var(--ink); background: var(--ground); font-variant-numeric: tabular-nums }
h1 { font-size: 20px } h2, label, th { font-size: 13px; font-weight: 600; color: var(--quiet) } small, .quiet { font-size: 13px; color: var(--quiet) }
header { margin-bottom: 16px }
main { display: grid; gap: 16px; grid-template-columns: 300px minmax(0, 1fr); align-items: start }
@media (max-width: 760px) { main { grid-template-columns: minmax(0, 1fr) } }
section, form, [role=status] { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 16px 20px }
[role=status] { grid-column: 1 / -1; padding: 10px 20px; overflow-wrap: anywhere }
label { display: block; margin-bottom: 12px }
input, textarea { display: block; font: inherit; font-weight: 400; color: var(--ink); background: var(--ground); width: 100%; border: 1px solid var(--edge); border-radius: 6px; padding: 6px 9px; margin-top: 3px }
button { font: inherit; font-weight: 600; color: #fff; background: var(--mark); border: 0; border-radius: 6px; padding: 7px 20px; cursor: pointer }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 1px }
table { border-collapse: collapse; width: 100%; margin-top: 6px } th, td { text-align: left; padding: 7px 12px 7px 0; border-top: 1px solid var(--edge); vertical-align: top }
td:first-child { white-space: nowrap; width: 1% } td small { display: block; overflow-wrap: anywhere }
.good, .bad { font-weight: 600; color: var(--good) } .bad { color: var(--bad) }
"""

# Renews the list of sent mails, and leaves alone what somebody is typing. Without scripts the page is as good, but still.
SCRIPT = """setInterval(async () => {
  const answer = await fetch('/').catch(() => null);
  if (!answer) return;
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  document.getElementById('log').replaceWith(page.getElementById('log'));
}, 3000);"""
SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{SCRIPT_HASH}'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def row(note):
    word, kind = ("sent", "good") if note["ok"] else ("not sent", "bad")
    return (
        f'<tr><td>{time.strftime("%H:%M:%S", time.gmtime(note["time"]))}</td>'
        f'<td>{html.escape(note["subject"])}<small>{html.escape(note["to"])}, by the {html.escape(note["why"])}</small></td>'
        f'<td><span class="{kind}">{word}</span><small>{html.escape(note["answer"])}</small></td></tr>'
    )


def front_page(note=None):
    with log_lock:
        notes = list(log)
    rows = "".join(map(row, notes[:LIST_SIZE]))
    table = f"<table><tr><th>UTC</th><th>Mail</th><th>Outcome</th></tr>{rows}</table>" if rows else "<p>Nothing yet.</p>"
    timer = f"sends one every {INTERVAL:g} s to {html.escape(RECIPIENT)}" if INTERVAL > 0 else "is off"
    status = ""
    if note:
        word, kind = ("Sent", "good") if note["ok"] else ("Not sent", "bad")
        status = f'<p role="status"><span class="{kind}">{word}</span>: {html.escape(note["answer"])}</p>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>A web application</title><style>{STYLE}</style></head><body><header><h1>A web application</h1>"
        f'<p class="quiet">It hands its mail to {html.escape(RELAY)}:{RELAY_PORT}. The timer {timer}.</p></header>'
        f'<main>{status}<form method="post" action="/send">'
        f'<label>To<input name="to" type="email" required value="{html.escape(RECIPIENT)}"></label>'
        '<label>Subject<input name="subject" required value="Hello"></label>'
        '<label>Text<textarea name="text" rows="5">Hello from the form.</textarea></label>'
        "<button>Send</button></form>"
        f'<section id="log"><h2>Sent lately</h2>{table}</section></main><script>{SCRIPT}</script></body></html>'
    )


class Handler(BaseHTTPRequestHandler):
    server_version = "webapp"
    protocol_version = "HTTP/1.1"
    timeout = 30

    def answer(self, status, content, kind="text/html"):
        data = content.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/":
            self.answer(200, front_page())
        elif path == "/api/log":
            with log_lock:
                notes = list(log)
            self.answer(200, json.dumps(notes), "application/json")
        elif path == "/health":
            self.answer(200, "ok\n", "text/plain")
        else:
            self.answer(404, "not found\n", "text/plain")

    def do_POST(self):
        # After a request whose body was not read, the connection can't be used for another.
        self.close_connection = True
        if urlsplit(self.path).path != "/send":
            self.answer(404, "not found\n", "text/plain")
            return
        # A page elsewhere on the web must not make the visitor's browser send mail from here.
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != self.headers.get("Host"):
            self.answer(403, "this form was sent from another site\n", "text/plain")
            return
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self.answer(411, "Content-Length is missing\n", "text/plain")
            return
        if not 0 <= length <= FORM_BYTES:
            self.answer(413, f"a form may have up to {FORM_BYTES} bytes\n", "text/plain")
            return
        fields = parse_qs(self.rfile.read(length).decode("utf-8", "replace"), keep_blank_values=True)
        recipient, subject, text = (fields.get(name, [""])[0] for name in ("to", "subject", "text"))
        note = send("form", recipient, subject, text)
        # The relay's refusal is not the visitor's fault: 502, the gateway behind us said no.
        self.answer(200 if note["ok"] else 502, front_page(note))

    def log_message(self, format, *args):
        pass  # one line per mail is the log; see send()


def main():
    if sys.argv[1:] == ["--health"]:
        try:
            socket.create_connection(("127.0.0.1", PORT), timeout=3).close()
        except OSError as error:
            sys.exit(f"webapp: {error}")
        return
    # Process 1 has no default action for this signal; without it every stop would take ten seconds.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ThreadingHTTPServer(("", PORT), Handler)
    server.daemon_threads = True
    if INTERVAL > 0:
        threading.Thread(target=timer, daemon=True).start()
    print(f"webapp: on port {PORT}, mail goes to {RELAY}:{RELAY_PORT}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
