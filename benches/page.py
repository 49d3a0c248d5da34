#!/usr/bin/env python3
"""Makes docs/performance.md and its charts from what the measurements left in benches/results.

    benches/page.py            write the page and docs/performance/*.svg
    benches/page.py --check    write nothing; fail when the page is not what the results make

Every measurement writes one file, benches/results/NAME.json, with `save` below. The page has one part for
each of them. What a file holds (a key with ? may be missing):

    {
      "order": 20,                       place on the page, small ones first (10 throughput, 20 scale, ...)
      "title": "Throughput",             becomes a heading
      "text": ["...", "..."],            paragraphs under it, Markdown: method, and what the figures mean
      "made": {                          `made()` below gives all of it; more keys may be added
        "date": "2026-11-25", "machine": "...", "disk": "...",
        "versions": {"Postern": "0.1.0 (10287a9)", "Postfix": "3.7.11"}
      },
      "command": "benches/throughput.py",     what makes it again
      "tables": [
        {
          "name": "kept",                file name of its chart: docs/performance/<file>-<name>.svg
          "title": "Connections kept",
          "text": ["..."],               ? paragraphs above the table
          "columns": ["", "Postern", "Postfix", "ratio"],
          "rows": [["5 kB, 20 sessions", 9454, 656, 14.4]],     texts and numbers; null is shown as a dash
          "notes": ["..."],              ? paragraphs under it
          "chart": {                     ? see svg.py
            "kind": "bars", "title": "Mails per second", "unit": "mails/s",
            "labels": ["5 kB, 20 sessions"],
            "series": [{"name": "Postern", "values": [9454]}, {"name": "Postfix", "values": [656]}]
          }
        }
      ],
      "raw": ...                         ? every single measurement; kept in the file, not shown
    }

A chart of kind "lines" has "x_unit" and, in each series, "points": [[x, y], ...] in place of labels and values.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import svg

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches/results"
PAGE = ROOT / "docs/performance.md"
CHARTS = ROOT / "docs/performance"
HEAD = """\
# How fast, and at what cost

`make bench` (as root, on an idle machine) measures all this and writes this page; the figures behind it are in `benches/results`.
Postern and Postfix run in turn, on the same disk, each with the syncs that it promises its clients. Machines differ, and one machine
differs from hour to hour: what counts is the ratio of two figures of one run.
"""


def save(name, result):
    """Writes benches/results/NAME.json, whole or not at all."""
    RESULTS.mkdir(exist_ok=True)
    part = RESULTS / f"{name}.part"
    part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    part.rename(RESULTS / f"{name}.json")


def made(directory, **versions):
    """Date, machine, the disk below a directory, and the versions that were measured beside Postern's own."""
    model = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = _words("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    version = next(line.split('"')[1] for line in (ROOT / "Cargo.toml").read_text().splitlines() if line.startswith("version"))
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores ({model[0] if model else os.uname().machine}), {memory:.0f} GiB, Linux {os.uname().release}",
        "disk": f'{_words("findmnt", "-nT", str(directory), "-o", "FSTYPE")} on {_words("findmnt", "-nT", str(directory), "-o", "SOURCE")}',
        "versions": {"Postern": f"{version} ({commit})" if commit else version, **versions},
    }


def _words(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def _table(file, table):
    lines = [f'### {table["title"]}', ""]
    for paragraph in table.get("text", ()):
        lines += [paragraph, ""]
    lines.append("| " + " | ".join(table["columns"]) + " |")
    lines.append("|---" + "|---:" * (len(table["columns"]) - 1) + "|")
    for row in table["rows"]:
        if len(row) != len(table["columns"]):
            raise ValueError(f'{file}, table {table["name"]}: {len(row)} cells under {len(table["columns"])} columns: {row}')
        lines.append("| " + " | ".join(svg.number(cell) for cell in row) + " |")
    lines.append("")
    if "chart" in table:
        lines += [f'![{table["chart"]["title"]}](performance/{file}-{table["name"]}.svg)', ""]
    for paragraph in table.get("notes", ()):
        lines += [paragraph, ""]
    return lines


def _part(file, result):
    made_by = result["made"]
    versions = ", ".join(f"{name} {version}" for name, version in made_by["versions"].items())
    others = [f"{key}: {value}" for key, value in made_by.items() if key not in ("date", "machine", "disk", "versions")]
    lines = [f'## {result["title"]}', ""]
    lines += ["; ".join([f'{made_by["date"]}, {made_by["machine"]}; {made_by["disk"]}; {versions}', *others]) + f'. Again: `{result["command"]}`.', ""]
    for paragraph in result["text"]:
        lines += [paragraph, ""]
    for table in result["tables"]:
        lines += _table(file, table)
    return lines


def render():
    """The files to write: their paths and texts."""
    results = [(path.stem, json.loads(path.read_text())) for path in sorted(RESULTS.glob("*.json"))]
    results.sort(key=lambda one: (one[1]["order"], one[0]))
    lines, files = [HEAD], {}
    for file, result in results:
        lines += _part(file, result)
        for table in result["tables"]:
            if "chart" in table:
                files[CHARTS / f'{file}-{table["name"]}.svg'] = svg.draw(table["chart"])
    files[PAGE] = "\n".join(lines).rstrip() + "\n"
    return files


def write():
    """Writes the page and its charts, and removes charts that are no longer on it."""
    files = render()
    CHARTS.mkdir(exist_ok=True)
    for old in set(CHARTS.glob("*.svg")) - set(files):
        old.unlink()
    for path, text in files.items():
        path.write_text(text)
    return len(files) - 1


def main():
    parser = argparse.ArgumentParser(description="Makes docs/performance.md from benches/results.")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    try:
        if options.check:
            stale = [path for path, text in render().items() if not path.exists() or path.read_text() != text]
            if stale:
                sys.exit(f"page: stale, run benches/page.py: {', '.join(str(path.relative_to(ROOT)) for path in stale)}")
        else:
            print(f"page: {PAGE.relative_to(ROOT)} and {write()} charts")
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"page: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
