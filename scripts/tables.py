#!/usr/bin/env python3
"""Makes the tables that are copies of something else: what `make tables` runs.

  Cargo.lock, cargo metadata    ->  [[software]] of appliance/mta.toml
  appliance/mta.toml            ->  docs/class.md (`postern describe --format markdown`)
  docs/class.md                 ->  docs/terminals.md, docs/properties.md, docs/exit-codes.md: each block between
                                    <!-- name --> and <!-- /name -->

Tests (suite architecture) compare all three and name this command when one is stale.
"""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLASS = ROOT / "appliance/mta.toml"
PAGES = ["docs/terminals.md", "docs/properties.md", "docs/exit-codes.md"]
MARK = "# The packages inside the program, beside those of the base image. Made by `make tables`.\n"


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def software():
    """The packages that Cargo.toml names for the program itself, as they are locked."""
    metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1"))
    packages = {package["id"]: package for package in metadata["packages"]}
    node = next(node for node in metadata["resolve"]["nodes"] if packages[node["id"]]["name"] == "postern")
    normal = [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
    for package in sorted((packages[id] for id in normal), key=lambda package: package["name"]):
        # What does not come from the registry is a copy of our own, changed or not.
        modified = str(not (package["source"] or "").startswith("registry+")).lower()
        yield (
            f'\n[[software]]\nname = "{package["name"]}"\nversion = "{package["version"]}"\n'
            f'modified = {modified}\nlicense = "{package["license"]}"\n'
        )


def main():
    text = CLASS.read_text()
    head, mark, _ = text.partition(MARK)
    if not mark:
        raise SystemExit(f"tables: {CLASS} lacks the line: {MARK}")
    CLASS.write_text(head + MARK + "".join(software()))
    tables = run("cargo", "run", "--locked", "--quiet", "--", "describe", "--format", "markdown")
    (ROOT / "docs/class.md").write_text(tables)
    for page in PAGES:
        text = (ROOT / page).read_text()
        for name, block in re.findall(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", tables, re.S):
            old = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.S)
            text = old.sub(lambda _: block, text)
        (ROOT / page).write_text(text)


main()
