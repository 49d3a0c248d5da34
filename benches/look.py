"""How long Chromium takes to draw a page: `look.py URL PICTURE` prints milliseconds and leaves a picture. Runs in the Python of
scripts/install-peers.sh, which has playwright."""

import os
import sys
import time

from playwright.sync_api import sync_playwright


def main(url, picture):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        login = {"username": os.environ["POSTERN_USER"], "password": os.environ["POSTERN_PASSWORD"]}
        page = browser.new_context(http_credentials=login, viewport={"width": 1280, "height": 1100}).new_page()
        # What a browser does at its first page alone is not the page's time.
        page.goto("about:blank")
        began = time.monotonic()
        page.goto(url, wait_until="load")
        page.locator("h1, h2").first.wait_for()
        print(round((time.monotonic() - began) * 1000))
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
