"""What people read on the pages, and a mail's HTML and attachments: `reading.py PROGRAM TEST [DIRECTORY FOR SCREENSHOTS]`."""

import smtplib
import socket
import sys
import threading
import time
import urllib.error
from email.message import EmailMessage
from pathlib import Path

from pages import ask, browser_of, page_of, world
from playwright.sync_api import expect, sync_playwright
from trouble import PASSWORD, USER, wait_until

# Everything that a mail may try: what it loads, runs, sends or leads to, with %s for a server that counts.
EVIL = """<html><head>
<link rel="preconnect" href="http://%s"><link rel="stylesheet" href="http://%s/a.css"><link rel="prefetch" href="http://%s/b">
<meta http-equiv="refresh" content="0;url=http://%s/c"><base href="http://%s/">
<style>@import url("http://%s/d.css"); body { background: url("http://%s/e.png") } h1 { color: rgb(1, 2, 3) }</style>
</head><body onload="parent.document.title='taken'"><h1>Good evening</h1>
<script>document.querySelector("h1").textContent = "taken"; top.location = "http://%s/f"; fetch("http://%s/g")</script>
<img src="http://%s/h.png" onerror="parent.document.title='taken'"><img alt="dot" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">
<form action="http://%s/i"><input name="password"><button>Log in</button></form>
<iframe src="http://%s/j"></iframe><object data="http://%s/k"></object><embed src="http://%s/l">
<video src="http://%s/m" autoplay></video><svg><image href="http://%s/n"/><script>alert(1)</script></svg>
<a id="away" href="http://%s/o">a link</a> <a id="top" target="_top" href="http://%s/p">out of the frame</a>
</body></html>"""


class Counting:
    """A server that counts connections: there must be none, whatever a mail contains."""

    def __init__(self):
        self.connections, self.listener = [], socket.create_server(("127.0.0.1", 0))
        self.name = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, peer = self.listener.accept()
            self.connections.append(peer)
            connection.close()


def send_evil(trouble, counting):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "evil@shop.example", "a@dead.example", "With HTML"
    mail.set_content("The text of it")
    mail.add_alternative(EVIL.replace("%s", counting.name), subtype="html")
    mail.add_attachment(b"<script>document.title = 'taken'</script>", maintype="text", subtype="html", filename='../b"ill.html')
    with smtplib.SMTP("127.0.0.1", trouble.smtp, timeout=60) as client:
        client.send_message(mail, "evil@shop.example", ["a@dead.example"])


def preview(program, shots):
    """The HTML of a mail shows in a frame that runs nothing, loads nothing and leads nowhere; an attachment is a file to keep."""
    with world(program) as trouble, sync_playwright() as play:
        counting = Counting()
        send_evil(trouble, counting)
        wait_until("the message", lambda: "mta_mqueue_messages 1" in ask(trouble, "/metrics"))
        browser = browser_of(play)
        page = browser.new_context(http_credentials={"username": USER, "password": PASSWORD}, viewport={"width": 1280, "height": 900}).new_page()
        page.on("dialog", lambda dialog: (counting.connections.append(dialog.message), dialog.dismiss()))
        page.goto(trouble.url + "/queue")
        expect(page.locator(".messages .about")).to_have_text("With HTML")
        page.locator(".messages th a").click()
        title = page.title()
        page.get_by_text("HTML preview").click()
        frame = page.frame_locator(".preview iframe")
        expect(frame.locator("h1")).to_have_text("Good evening")
        expect(frame.locator("h1")).to_have_css("color", "rgb(1, 2, 3)")
        assert frame.locator("form, a, script, link, meta").count() == 0, "something may act"
        assert frame.locator("img[alt=dot]").evaluate("image => image.naturalWidth") == 1, "an image inside the mail is not shown"
        page.wait_for_timeout(1500)
        page.screenshot(path=shots / "preview-light-1280.png", full_page=True)
        assert page.title() == title and page.url.startswith(trouble.url)
        for link in ("#top", "#away"):
            frame.locator(link).click()
            page.wait_for_timeout(700)
        assert page.url.startswith(trouble.url), page.url
        assert not counting.connections, counting.connections
        # Also when opened directly: the answer itself has the policy.
        source = page.locator(".preview iframe").evaluate("frame => frame.src")
        page.reload()
        with page.expect_download() as download:
            page.get_by_role("link", name="ill.html").click()
        assert download.value.suggested_filename == "b_ill.html" or download.value.suggested_filename == 'b"ill.html', download.value.suggested_filename
        assert b"taken" in Path(download.value.path()).read_bytes()
        answer = page.goto(source)
        assert "sandbox" in answer.headers["content-security-policy"]
        page.wait_for_timeout(700)
        assert page.locator("h1").text_content() == "Good evening", page.content()
        assert not counting.connections, counting.connections
        browser.close()


def health(program, shots):
    """The first line shows whether there are alerts, and each alert links to the page to act; numbers have names and units."""
    with world(program) as trouble:
        with page_of(trouble) as page:
            page.goto(trouble.url + "/")
            expect(page.locator("#alerts")).to_contain_text("All well")
            for name in ("Queued messages", "Oldest message", "Delivery success, last hour", "Messages a minute"):
                expect(page.locator("#big")).to_contain_text(name)
            for name in ("Mqueue Messages", "Mqueue Kbytes", "SMTP Active Sessions"):
                expect(page.locator("#big .founding")).to_contain_text(name)
            expect(page.locator("#totals h2")).to_contain_text("since start")
            expect(page.locator("#relay")).not_to_contain_text("not connectedfs")
            page.locator("#relay summary").click()
            expect(page.locator("#relay .unused p")).to_contain_text("fs")
            assert page.locator("#charts .axis").first.locator("time").count() == 5
            trouble.send(12, "dead.example")
            alert = page.locator("#alerts .alert").first
            expect(alert).to_contain_text("Cannot deliver to dead.example, 12 messages waiting", timeout=30_000)
            expect(page.locator("#alerts")).not_to_contain_text("All well")
            # Moments are in the zone of the viewer, with its name; on hover as the server writes them.
            since = alert.locator("time")
            expect(since).to_have_attribute("title", since.get_attribute("datetime"))
            assert since.text_content() != since.get_attribute("datetime")
            alert.get_by_role("link", name="Show these messages").click()
            page.wait_for_url("**/queue?destination=dead.example")
            expect(page.locator(".messages tbody tr")).to_have_count(12)
            page.get_by_label("Messages a page").select_option("25")
            page.get_by_role("button", name="Search").click()
            page.wait_for_url("**limit=25**")
            expect(page.locator(".messages tbody tr")).to_have_count(12)
        with page_of(trouble, java_script_enabled=False) as page:
            page.goto(trouble.url + "/")
            since = page.locator("#alerts time").first
            assert since.text_content() == since.get_attribute("datetime"), "without a script the moment stands as RFC 3339"
        with page_of(trouble, width=390) as page:
            page.goto(trouble.url + "/queue")
            label = page.locator(".heat td.age").first.evaluate("cell => getComputedStyle(cell, '::before').content")
            assert label == '"≤ 5 min"', label


def logout(program, shots):
    """After a logout the password is required again, and the page says that the browser has forgotten it."""
    with world(program) as trouble, sync_playwright() as play:
        browser = browser_of(play)
        page = browser.new_context(http_credentials={"username": USER, "password": PASSWORD}).new_page()
        page.goto(trouble.url + "/queue")
        link = page.get_by_role("link", name="Log out").get_attribute("href")
        assert link == "./logout", link
        browser.close()
        try:
            ask(trouble, "/logout", Accept="text/html")
            raise AssertionError("nobody was logged out")
        except urllib.error.HTTPError as error:
            assert error.code == 401 and error.headers["WWW-Authenticate"].startswith("Basic"), error.headers
            assert "cookies" in error.headers["Clear-Site-Data"]
            assert "Logged out" in error.read().decode()
        # It does not count as a wrong password, after which one would have to wait.
        for _ in range(8):
            try:
                ask(trouble, "/logout")
            except urllib.error.HTTPError as error:
                assert error.code == 401, error.code
        ask(trouble, "/queue")
    with world(program, username="", password="") as trouble:
        with page_of(trouble, login=False) as page:
            page.goto(trouble.url + "/")
            assert page.get_by_role("link", name="Log out").count() == 0


TESTS = {one.__name__: one for one in (preview, health, logout)}

if __name__ == "__main__":
    directory = Path(sys.argv[3] if len(sys.argv) > 3 else "target/screenshots")
    directory.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    TESTS[sys.argv[2]](sys.argv[1], directory)
    print(f"{sys.argv[2]}: {time.monotonic() - started:.0f} s")
