"""Operator actions on a long queue in a browser: `act.py URL DESTINATION PICTURES` holds, releases and would delete all mail for a
destination, prints how long each step took in milliseconds (JSON) and leaves pictures. Runs in the Python of
scripts/install-peers.sh, which has playwright."""

import json
import os
import re
import sys
import time
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

# Longer than an order on half a million messages takes.
PATIENCE = 300_000


class Steps:
    def __init__(self, page, pictures):
        self.page, self.pictures, self.took = page, Path(pictures), {}

    def step(self, name, press, shown):
        """Presses, and waits until the page shows the result."""
        began = time.monotonic()
        press()
        expect(shown).to_be_visible(timeout=PATIENCE)
        self.took[name] = round((time.monotonic() - began) * 1000)
        self.page.screenshot(path=self.pictures / f"long-{re.sub(r'[^a-z]+', '-', name)}.png")


def press(page, button):
    return lambda: page.get_by_role("button", name=button, exact=True).click(no_wait_after=True)


def choose(page, base, filters, button):
    """A selection by condition, and the button with confirmation."""
    page.goto(f"{base}/queue?{filters}", timeout=PATIENCE)
    page.locator("input[value=matching]").check()
    return press(page, button)


def main(base, destination, pictures):
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        login = {"username": os.environ["POSTERN_USER"], "password": os.environ["POSTERN_PASSWORD"]}
        page = browser.new_context(http_credentials=login, viewport={"width": 1280, "height": 1100}).new_page()
        page.set_default_timeout(PATIENCE)
        steps = Steps(page, pictures)
        notice = page.locator(".notice")
        of_it = f"destination={destination}"
        steps.step("asking how many a hold hits", choose(page, base, of_it, "Hold"), page.get_by_role("heading", name=re.compile("^Hold .*messages")))
        steps.step("holding them", press(page, "Hold"), notice.filter(has_text="messages held."))
        held = notice.text_content().strip()
        steps.step("asking how many a release hits", choose(page, base, of_it + "&state=held", "Release"), page.get_by_role("heading", name=re.compile("^Release .*messages")))
        steps.step("releasing them", press(page, "Release"), notice.filter(has_text="messages released."))
        steps.step("asking how many a deletion hits", choose(page, base, of_it, "Delete…"), page.get_by_role("heading", name=re.compile("^Delete .*messages")))
        browser.close()
    print(json.dumps({"held": held, "took": steps.took}))


if __name__ == "__main__":
    main(*sys.argv[1:])
