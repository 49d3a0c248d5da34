"""The pages in Chromium, with a running appliance and undeliverable mail: `pages.py PROGRAM TEST [DIRECTORY FOR SCREENSHOTS]`."""

import base64
import re
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from trouble import HOSTILE, PASSWORD, USER, Trouble, answers, free_port, wait_until

PAGES = ["/", "/queue", "/queue?search=evil", "/queue?state=held", "/destinations", "/history", "/sessions", "/log", "/route",
         "/route?to=anna@greylisting.example&from=shop@shop.example&client=127.0.0.1", "/route?to=a@nowhere.example&client=192.0.2.9",
         "/dkim", "/dkim?check=yes", "/upstreams", "/settings", "/settings?show=changed"]
# One domain with a record of each state, and one above it.
SIGNING = {"dkim_domains": "shop.example, mta.shop.example=s1", "dkim_generate": "yes"}
VIEWS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]


def browser_of(play):
    return play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage"])


@contextmanager
def world(program, **properties):
    trouble = Trouble(program, **properties)
    try:
        yield trouble
    except BaseException:
        print(trouble.log()[-3000:], file=sys.stderr)
        raise
    finally:
        trouble.close()


@contextmanager
def page_of(trouble, scheme="light", width=1280, login=True, **more):
    """A page whose every complaint is a failure, and that asks for nothing from elsewhere."""
    complaints, foreign = [], []
    credentials = {"username": USER, "password": PASSWORD} if login else None
    with sync_playwright() as play:
        browser = browser_of(play)
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, http_credentials=credentials, **more)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}") or dialog.dismiss())
        page.on("request", lambda request: None if request.url.startswith(trouble.url) else foreign.append(request.url))
        yield page
        assert not complaints, complaints
        assert not foreign, foreign
        browser.close()


def ask(trouble, path, method="GET", body=None, **headers):
    request = urllib.request.Request(trouble.url + path, method=method, data=body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def settled(trouble):
    """All that can be delivered is, and the rest has been tried."""
    wait_until("the queue", lambda: 'mta_mqueue_messages 106' in ask(trouble, "/metrics") or 'mta_mqueue_messages 107' in ask(trouble, "/metrics"))


def views(program, shots):
    """Every page in light and dark, on a desk and on a telephone: small, without complaints, nothing wider than the screen."""
    with world(program, **SIGNING) as trouble:
        trouble.send_all()
        settled(trouble)
        for scheme, width in VIEWS:
            with page_of(trouble, scheme, width) as page:
                for path in PAGES:
                    answer = page.goto(trouble.url + path)
                    if answer.status == 404:
                        continue
                    assert answer.status == 200, (path, answer.status)
                    assert len(answer.body()) < 100_000, (path, len(answer.body()))
                    page.wait_for_timeout(300)
                    assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than {width}"
                    name = re.sub(r"\W+", "-", path).strip("-") or "overview"
                    page.screenshot(path=shots / f"{name}-{scheme}-{width}.png", full_page=width > 400)
                page.goto(trouble.url + "/queue?search=evil")
                page.locator(".messages th a").first.click()
                page.wait_for_url("**/queue/*")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                page.screenshot(path=shots / f"message-{scheme}-{width}.png", full_page=True)


def accessibility(program, shots):
    """axe-core finds no serious fault on any page."""
    with world(program, **SIGNING) as trouble:
        trouble.send_all()
        settled(trouble)
        for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390)):
            with page_of(trouble, scheme, width, bypass_csp=True) as page:
                for path in PAGES:
                    if page.goto(trouble.url + path).status == 404:
                        continue
                    faults(page, f"{path} {scheme} {width}")
                page.goto(trouble.url + "/queue?search=evil")
                page.locator(".messages th a").first.click()
                page.wait_for_url("**/queue/*")
                faults(page, "a message")


def faults(page, where):
    found = Axe().run(page).response["violations"]
    grave = [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")]
    assert not grave, (where, grave)


# A second press of the same button while the order is in progress; records the text of the page then.
PRESSED_TWICE = """document.addEventListener("submit", event => setTimeout(() => {
    sessionStorage.meanwhile = document.getElementById("live").textContent;
    event.submitter.click();
}, 300), { once: true })"""


def actions(program, shots):
    """Search, hold, release, retry, delete with confirmation, pause and resume; each writes its line to the log."""
    with world(program) as trouble:
        trouble.send_all()
        settled(trouble)
        with page_of(trouble) as page:
            page.goto(trouble.url + "/queue")
            expect(page.locator("#groups")).to_contain_text("Bounces (null sender)")
            page.get_by_role("searchbox").fill("customer7@dead")
            page.get_by_role("button", name="Search").click()
            expect(page.locator(".messages tbody tr")).to_have_count(1)
            page.locator("input[name=ids]").check()
            page.get_by_role("button", name="Hold").click()
            expect(page.locator(".notice")).to_have_text("1 message held.")
            page.goto(trouble.url + "/queue?state=held")
            expect(page.locator(".messages tbody tr")).to_have_count(1)
            page.locator(".messages th a").click()
            page.get_by_role("button", name="Release").click()
            expect(page.locator(".notice")).to_have_text("1 message released.")
            page.get_by_role("button", name="Retry now").click()
            expect(page.locator(".notice")).to_have_text("1 message will be retried now.")

            page.goto(trouble.url + "/queue?destination=full.example")
            page.locator("input[value=matching]").check()
            page.get_by_role("button", name="Delete…").click()
            expect(page.locator("h1")).to_have_text("Delete 9 messages?")
            page.get_by_role("link", name="Back").click()
            expect(page.locator(".messages tbody tr")).to_have_count(9)
            page.locator("input[value=matching]").check()
            page.get_by_role("button", name="Delete…").click()
            # A slow order shows that it is running, and a second press does not repeat it.
            orders = []
            page.route("**/act", lambda route: (orders.append(route.request.post_data), page.wait_for_timeout(1000), route.continue_()))
            page.evaluate(PRESSED_TWICE)
            page.get_by_role("button", name="Delete", exact=True).click()
            expect(page.locator(".notice")).to_have_text("9 messages deleted.")
            assert page.evaluate("sessionStorage.meanwhile") == "working…" and len(orders) == 1, orders
            page.unroute("**/act")
            expect(page.locator(".messages tbody tr")).to_have_count(0)

            page.goto(trouble.url + "/queue")
            page.get_by_role("button", name="Pause greylisting.example").click()
            expect(page.locator(".notice")).to_contain_text("is paused")
            expect(page.locator(".heat .tag")).to_have_text("paused")
            # What is paused stays so across a restart.
            page.goto("about:blank")
            trouble.stop()
            trouble.start()
            page.goto(trouble.url + "/queue")
            expect(page.locator(".heat .tag")).to_have_text("paused")
            page.get_by_role("button", name="Resume greylisting.example").click()
            expect(page.locator(".notice")).to_contain_text("is resumed")
            page.get_by_role("button", name="Retry all mail for greylisting.example").click()
            expect(page.locator("h1")).to_have_text(re.compile("Retry .* messages\\?"))
            page.get_by_role("button", name="Retry", exact=True).click()
            expect(page.locator(".notice")).to_contain_text("will be retried now")
        log = trouble.log()
        for order in ("hold", "release", "retry", "delete", "pause", "resume"):
            assert re.search(rf'order={order} .*by={USER} from=127.0.0.1', log), order
        assert PASSWORD not in log


def hostile(program, shots):
    """Untrusted text stays text: in lists, on its page, in its header fields; nothing of it runs or is loaded."""
    with world(program) as trouble:
        trouble.send_all()
        settled(trouble)
        with page_of(trouble) as page:
            page.goto(trouble.url + "/queue?search=document.title")
            page.locator(".messages th a").first.click()
            expect(page.locator("h1")).to_have_text(HOSTILE)
            expect(page.get_by_label("Text of the message")).to_contain_text("onerror=alert(1)")
            page.get_by_text("Header fields").click()
            expect(page.locator(".headers")).to_contain_text("X-Hostile")
            assert "taken" != page.title()
            with page.expect_download() as download:
                page.get_by_role("link", name="Download .eml").click()
            assert download.value.suggested_filename.endswith(".eml")
            assert b"X-Hostile" in Path(download.value.path()).read_bytes()


def keyboard(program, shots):
    """The queue with the keyboard alone: to the content, search, open a message, retry it."""
    with world(program) as trouble:
        trouble.send(3, "dead.example")
        wait_until("the tries", lambda: "mta_mqueue_messages 3" in ask(trouble, "/metrics"))
        with page_of(trouble) as page:
            page.goto(trouble.url + "/queue")
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            reach(page, lambda: page.evaluate("document.activeElement.name") == "search")
            page.keyboard.type("customer1@")
            page.keyboard.press("Enter")
            expect(page.locator(".messages tbody tr")).to_have_count(1)
            reach(page, lambda: page.evaluate("document.activeElement.className") == "id")
            page.keyboard.press("Enter")
            page.wait_for_url("**/queue/*")
            reach(page, lambda: page.evaluate("document.activeElement.textContent") == "Retry now")
            page.keyboard.press("Enter")
            expect(page.locator(".notice")).to_have_text("1 message will be retried now.")


def reach(page, is_there, steps=80):
    for _ in range(steps):
        if is_there():
            return
        page.keyboard.press("Tab")
    raise AssertionError("the keyboard does not get there")


def live(program, shots):
    """The page updates itself, also from a stream; shows when the server does not answer, and continues when it does again."""
    with world(program) as trouble:
        with page_of(trouble) as page:
            page.goto(trouble.url + "/")
            number = page.locator("#big .number").first
            expect(number).to_have_text("0")
            trouble.send(5, "dead.example")
            expect(number).to_have_text("5", timeout=12_000)
            expect(page.locator("#live")).to_have_text("live")
            expect(page.locator("#by-destination")).to_contain_text("dead.example")
        with sync_playwright() as play:
            browser = browser_of(play)
            page = browser.new_context(http_credentials={"username": USER, "password": PASSWORD}).new_page()
            page.goto(trouble.url + "/")
            trouble.stop()
            expect(page.locator("#live")).to_have_text("no answer from the relay; trying again", timeout=20_000)
            expect(page.locator("#by-destination")).to_contain_text("dead.example")
            trouble.start()
            expect(page.locator("#live")).to_have_text("live", timeout=20_000)
            browser.close()


def without_script(program, shots):
    """All pages can be read, and actions taken, without JavaScript."""
    with world(program) as trouble:
        trouble.send_all()
        settled(trouble)
        with page_of(trouble, java_script_enabled=False) as page:
            page.goto(trouble.url + "/")
            expect(page.locator("#charts svg").first).to_be_visible()
            page.get_by_role("link", name="Queue", exact=True).click()
            page.get_by_role("link", name="Next page").click()
            page.locator("input[name=ids]").first.check()
            page.get_by_role("button", name="Hold").click()
            expect(page.locator(".notice")).to_have_text("1 message held.")


def looking_only(program, shots):
    """Without a login there is nothing to press and nothing of the contents, and without ui_public no name at all; read-only mode shows contents and takes no orders."""
    for properties, words, reads in (({"username": "", "password": "", "ui_public": "yes"}, "set username and password", False), ({"ui_read_only": "yes"}, "read-only", True)):
        with world(program, **properties) as trouble:
            trouble.send(2, "dead.example")
            wait_until("the tries", lambda: "mta_mqueue_messages 2" in ask(trouble, "/metrics"))
            with page_of(trouble) as page:
                page.goto(trouble.url + "/queue")
                assert page.locator("form[method=post] button").count() == 0
                expect(page.locator("main")).to_contain_text(words)
                page.locator(".messages th a").first.click()
                assert (page.get_by_label("Text of the message").count() == 1) == reads
            try:
                ask(trouble, "/act", "POST", b"order=delete&scope=matching&confirmed=1")
                raise AssertionError("an order was taken")
            except urllib.error.HTTPError as error:
                assert error.code == 403, error
    with world(program, username="", password="") as trouble:
        trouble.send(2, "dead.example")
        with page_of(trouble, login=False) as page:
            page.goto(trouble.url + "/")
            expect(page.locator("main")).to_contain_text("Queue by age")
            expect(page.locator("main")).to_contain_text("Numbers only")
            assert page.locator("nav.pages a").count() == 1
            assert "dead.example" not in page.content()


SECRET = "planted-s3cret"


@contextmanager
def upstream_world(program, fails=""):
    """An appliance whose mail goes to one server: `fails` is what it does wrong, or `login` for one that has no STARTTLS and no login."""
    port = free_port()
    login = {"smart_relay_username": "relay", "smart_relay_password": SECRET} if fails == "login" else {}
    with world(program, smart_relay=f"127.0.0.1:{port}", **login) as trouble:
        behaviour = ["--fail", fails] if fails and fails != "login" else []
        trouble._start([trouble.program, "sink", "--listen", f"127.0.0.1:{port}", *behaviour], "upstream")
        wait_until("the upstream", lambda: answers("127.0.0.1", port))
        yield trouble


def upstreams(program, shots):
    """The card of the upstreams, their page, and the test of one: in every view, by the keyboard, without a script."""
    with upstream_world(program, "login") as trouble:
        trouble.send(3, "well.example")
        wait_until("the try", lambda: 'mta_upstream_tls_failing{upstream="default"} 1' in ask(trouble, "/metrics"))
        for scheme, width in VIEWS:
            with page_of(trouble, scheme, width, bypass_csp=True) as page:
                page.goto(trouble.url + "/")
                expect(page.locator("#by-upstream")).to_contain_text("TLS fails")
                expect(page.locator("#by-upstream")).to_contain_text("it does not offer STARTTLS")
                page.screenshot(path=shots / f"upstreams-card-{scheme}-{width}.png", full_page=True)
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                page.locator("#by-upstream th a").first.click()
                page.wait_for_url("**/upstreams")
                expect(page.locator(".upstream .alert")).to_contain_text("it does not offer STARTTLS")
                faults(page, f"upstreams {scheme} {width}")
                # By the keyboard alone.
                page.get_by_label("From").focus()
                page.keyboard.type("orders@shop.example")
                page.keyboard.press("Tab")
                page.keyboard.type("anna@well.example")
                page.keyboard.press("Tab")
                page.keyboard.press("Enter")
                expect(page.locator(".dialogue")).to_contain_text("EHLO mta.shop.example")
                expect(page.get_by_role("alert").first).to_contain_text("it does not offer STARTTLS")
                expect(page.locator(".advice")).to_contain_text("Use port 587 in smart_relay")
                faults(page, f"a test {scheme} {width}")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                page.screenshot(path=shots / f"upstreams-test-{scheme}-{width}.png", full_page=True)
                assert SECRET not in page.content()
        with page_of(trouble, java_script_enabled=False) as page:
            page.goto(trouble.url + "/upstreams")
            page.get_by_role("button", name="Test default").click()
            expect(page.locator(".dialogue")).to_contain_text("EHLO")
    with upstream_world(program) as trouble:
        trouble.send(3, "well.example")
        wait_until("the mail", lambda: 'mta_upstream_mails_total{upstream="default"} 3' in ask(trouble, "/metrics"))
        with page_of(trouble) as page:
            page.goto(trouble.url + "/upstreams")
            expect(page.locator(".upstream")).to_contain_text("3 sent, 0 failed")
            page.get_by_label("To").fill("anna@well.example")
            page.get_by_role("button", name="Test default").click()
            expect(page.get_by_role("status").filter(has_text="It takes mail")).to_be_visible()
            expect(page.locator(".dialogue")).to_contain_text("RCPT TO:<anna@well.example>")
            page.screenshot(path=shots / "upstreams-good.png", full_page=True)
            assert 'mta_upstream_mails_total{upstream="default"} 3' in ask(trouble, "/metrics"), "a test is no mail"
    with upstream_world(program, "login") as trouble:
        trouble.stop()
        trouble.environment["MTA_UI_READ_ONLY"] = "yes"
        trouble.start()
        with page_of(trouble) as page:
            page.goto(trouble.url + "/upstreams")
            assert page.get_by_role("button", name="Test default").count() == 0


TESTS = {one.__name__: one for one in (views, accessibility, actions, hostile, keyboard, live, without_script, looking_only, upstreams)}

if __name__ == "__main__":
    directory = Path(sys.argv[3] if len(sys.argv) > 3 else "target/screenshots")
    directory.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    TESTS[sys.argv[2]](sys.argv[1], directory)
    print(f"{sys.argv[2]}: {time.monotonic() - started:.0f} s")
