#!/usr/bin/env python3
"""The page of `mx`: what has arrived in the Maildir, newest first.

GET /                 the list, 100 to a page (?page=2)
GET /mail/<id>        one mail, shown as it came over the wire
GET /api/mail         the list as JSON; ?contains=TEXT keeps those with TEXT in subject, addresses
                      or Message-ID
GET /api/mail/<id>    one mail as JSON, with its raw source
GET /health           200 when an SMTP server listens on port 25

Everything in a mail comes from strangers, so everything is escaped, and no part of a mail is ever
rendered: HTML mail is shown as its source.
"""

import html
import json
import os
import re
import socket
import sys
import time
from email import message_from_binary_file, policy
from email.parser import BytesHeaderParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MAILDIR = os.environ.get("MX_MAILDIR", "/var/mail/inbox")
PORT = int(os.environ.get("MX_PAGE_PORT", "8025"))
PAGE_SIZE = 100
# A page about a mail shows this much of it; the rest is in the JSON.
SHOWN_BYTES = 256 * 1024
# The form of the file names that Postfix gives; anything else (a slash above all) is no mail of ours.
MAIL_ID = re.compile(r"[A-Za-z0-9_.=,:-]{1,200}")


def files():
    """All mails as (arrival, id, path), newest first."""
    found = []
    for folder in ("new", "cur"):
        try:
            entries = os.scandir(os.path.join(MAILDIR, folder))
        except FileNotFoundError:
            continue  # Postfix makes the folders with the first mail
        with entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    found.append((entry.stat().st_mtime, entry.name, entry.path))
    found.sort(reverse=True)
    return found


def header(message, name):
    """One header as text. A header that can't be decoded is shown raw rather than not at all."""
    try:
        value = message.get(name, "")
    except Exception:
        value = dict(message.raw_items()).get(name, "")
    return str(value).encode("utf-8", "replace").decode("utf-8")


def summary(arrival, name, path):
    with open(path, "rb") as file:
        message = BytesHeaderParser(policy=policy.default).parse(file)
        size = os.fstat(file.fileno()).st_size
    return {
        "id": name,
        "arrived": arrival,
        "size": size,
        "sender": header(message, "Return-Path"),
        "recipient": header(message, "X-Original-To") or header(message, "Delivered-To"),
        "from": header(message, "From"),
        "to": header(message, "To"),
        "subject": header(message, "Subject"),
        "message_id": header(message, "Message-ID"),
    }


def summaries(found):
    result = []
    for item in found:
        try:
            result.append(summary(*item))
        except FileNotFoundError:
            continue  # removed since it was listed
    return result


def find(name):
    if MAIL_ID.fullmatch(name):
        for arrival, entry, path in files():
            if entry == name:
                return arrival, entry, path
    return None


def smtp_listens():
    """Whether something listens on port 25. Asked of the kernel and not of Postfix, which would write
    two lines to its log each time, and drown the lines about mail."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if fields[1].endswith(":0019") and fields[3] == "0A":
                    return True
    return False


STYLE = """
:root { color-scheme: light dark; --ground: #f4f5f4; --card: #fff; --edge: #e1e5e3; --ink: #1d2624; --quiet: #5d6a66; --mark: #2f6f62 }
@media (prefers-color-scheme: dark) { :root { --ground: #121716; --card: #1a211f; --edge: #2a3431; --ink: #e4eae8; --quiet: #93a29d; --mark: #6cc4ae } }
* { box-sizing: border-box; margin: 0 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 0 auto; padding: 20px 24px; color: var(--ink); background: var(--ground); font-variant-numeric: tabular-nums }
h1 { font-size: 20px; overflow-wrap: anywhere } a { color: var(--mark) } th, .quiet { font-size: 13px; font-weight: 600; color: var(--quiet) } .quiet { font-weight: 400 }
main { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 12px 20px; margin-top: 16px }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: 7px 12px 7px 0; vertical-align: top; overflow-wrap: anywhere }
td { border-top: 1px solid var(--edge) } td:first-child, .number { white-space: nowrap } .number { text-align: right; padding-right: 0 }
@media (max-width: 640px) { .wide { display: none } }
pre { font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere }
nav a { margin-right: 1em }
"""


def page(title, below, body, refresh=False):
    head = '<meta http-equiv="refresh" content="5">' if refresh else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f'<body><h1>{html.escape(title)}</h1><p class="quiet">{below}</p><main>{body}</main></body></html>'
    )


class Handler(BaseHTTPRequestHandler):
    server_version = "mx-mailbox"
    protocol_version = "HTTP/1.1"
    timeout = 30

    def answer(self, status, content, kind):
        data = content.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        try:
            if url.path == "/":
                self.list_page(query)
            elif url.path == "/health":
                listens = smtp_listens()
                self.answer(200 if listens else 503, "ok\n" if listens else "no SMTP server\n", "text/plain")
            elif url.path == "/api/mail":
                self.list_json(query)
            elif url.path.startswith("/api/mail/"):
                self.mail_json(url.path.removeprefix("/api/mail/"))
            elif url.path.startswith("/mail/"):
                self.mail_page(url.path.removeprefix("/mail/"))
            else:
                self.answer(404, "not found\n", "text/plain")
        except OSError as error:
            self.answer(503, f"{error}\n", "text/plain")

    def list_page(self, query):
        found = files()
        try:
            number = max(1, int(query.get("page", ["1"])[0]))
        except ValueError:
            number = 1
        start = (number - 1) * PAGE_SIZE
        rows = "".join(
            f'<tr><td>{time.strftime("%b %d %H:%M:%S", time.gmtime(m["arrived"]))}</td>'
            f'<td><a href="/mail/{html.escape(m["id"])}">{html.escape(m["subject"]) or "(no subject)"}</a></td>'
            f'<td class="wide">{html.escape(m["sender"])}</td><td>{html.escape(m["recipient"])}</td>'
            f'<td class="number wide">{m["size"]}</td></tr>'
            for m in summaries(found[start : start + PAGE_SIZE])
        )
        links = []
        if number > 1:
            links.append(f'<a href="/?page={number - 1}">newer</a>')
        if start + PAGE_SIZE < len(found):
            links.append(f'<a href="/?page={number + 1}">older</a>')
        table = (
            '<table><tr><th>Arrived, UTC</th><th>Subject</th><th class="wide">Sender</th><th>Recipient</th>'
            f'<th class="number wide">Bytes</th></tr>{rows}</table>'
            if rows
            else "<p>Nothing has arrived yet.</p>"
        )
        if links:
            table += f"<nav>{''.join(links)}</nav>"
        count = "1 mail" if len(found) == 1 else f"{len(found)} mails"
        # Only the newest page changes, so only that one loads itself again.
        self.answer(200, page("A mail server far away", f"{count} arrived", table, number == 1), "text/html")

    def list_json(self, query):
        result = summaries(files())
        for wanted in query.get("contains", []):
            fields = ("subject", "sender", "recipient", "from", "to", "message_id")
            result = [m for m in result if any(wanted in m[field] for field in fields)]
        self.answer(200, json.dumps({"count": len(result), "mail": result}), "application/json")

    def mail_page(self, name):
        item = find(name)
        if item is None:
            self.answer(404, page("No such mail", '<a href="/">all mail</a>', "<p>It is not here, or not any more.</p>"), "text/html")
            return
        with open(item[2], "rb") as file:
            source = file.read(SHOWN_BYTES).decode("utf-8", "replace")
            rest = os.fstat(file.fileno()).st_size - file.tell()
        note = f'<p class="quiet">{rest} more bytes are not shown here.</p>' if rest > 0 else ""
        title = summary(*item)["subject"] or "(no subject)"
        self.answer(200, page(title, '<a href="/">all mail</a>', f"<pre>{html.escape(source)}</pre>{note}"), "text/html")

    def mail_json(self, name):
        item = find(name)
        if item is None:
            self.answer(404, json.dumps({"error": "no such mail"}), "application/json")
            return
        result = summary(*item)
        with open(item[2], "rb") as file:
            message = message_from_binary_file(file, policy=policy.compat32)
            file.seek(0)
            # Latin-1 keeps every byte as one character, so a test can get the exact source back.
            result["source_latin1"] = file.read().decode("latin-1")
        result["received"] = [str(value) for value in message.get_all("Received", [])]
        self.answer(200, json.dumps(result), "application/json")

    def log_message(self, format, *args):
        pass  # the log is Postfix's; a page that reloads itself would drown it


def main():
    if sys.argv[1:] == ["--health"]:
        if not smtp_listens():
            sys.exit("mx: nothing listens on port 25")
        try:
            socket.create_connection(("127.0.0.1", PORT), timeout=3).close()
        except OSError as error:
            sys.exit(f"mx: {error}")
        return
    server = ThreadingHTTPServer(("", PORT), Handler)
    print(f"mx: the mail can be looked at on port {PORT}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
