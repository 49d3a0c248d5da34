"""Charts as SVG, for docs/performance.md: grouped bars, and lines over a measured axis.

A chart is a dictionary (its shape: page.py); `draw` gives the text of an SVG file. Nothing random and no
date goes in, so the same figures always make the same file.
"""

from html import escape

# Distinguishable with red-green colour blindness, too; on white, so that dark pages show them as well.
COLORS = ("#0b6e99", "#d9822b", "#6b7a8f", "#7a4fa3")
WIDTH = 760
FONT = 'font-family="sans-serif" font-size="12" fill="#222"'


def draw(chart):
    """The SVG of one chart."""
    kinds = {"bars": _bars, "lines": _lines}
    try:
        make = kinds[chart["kind"]]
    except KeyError:
        raise ValueError(f"a chart's kind is one of {', '.join(kinds)}: {chart}") from None
    return make(chart)


def number(value):
    """A readable number: three significant digits, separated thousands."""
    if isinstance(value, str):
        return value
    if value is None:
        return "–"
    size = abs(value)
    if isinstance(value, int) or size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _page(height, title, parts):
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">'
    )
    return "\n".join([
        head,
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="22" {FONT} font-weight="bold">{escape(title)}</text>',
        *parts,
        "</svg>\n",
    ])


def _legend(names, y):
    parts, x = [], 12
    for name, color in zip(names, COLORS):
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{color}"/>')
        parts.append(f'<text x="{x + 17}" y="{y}" {FONT}>{escape(name)}</text>')
        x += 17 + 8 * len(name) + 18
    return parts


def _bars(chart):
    """One group of horizontal bars for each label, one bar in it for each series, the number after each bar."""
    labels, series = chart["labels"], chart["series"]
    left, right, bar, gap, top = 230, 90, 15, 12, 58
    peak = max((value for one in series for value in one["values"] if value is not None), default=0) or 1
    parts = _legend([one["name"] for one in series], 42)
    y = top
    for at, label in enumerate(labels):
        height = bar * len(series)
        parts.append(f'<text x="{left - 8}" y="{y + height / 2 + 4:.0f}" text-anchor="end" {FONT}>{escape(label)}</text>')
        for one, color in zip(series, COLORS):
            value = one["values"][at]
            width = (WIDTH - left - right) * (value or 0) / peak
            parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar - 2}" fill="{color}"/>')
            parts.append(f'<text x="{left + width + 5:.1f}" y="{y + bar - 4}" {FONT}>{number(value)}</text>')
            y += bar
        y += gap
    title = f'{chart["title"]}, {chart["unit"]}'
    return _page(y + 4, title, parts)


def _lines(chart):
    """One line for each series over x; both axes from zero."""
    series = chart["series"]
    left, right, top, bottom, height = 80, 40, 62, 46, 340
    points = [point for one in series for point in one["points"]]
    wide = max((x for x, _ in points), default=0) or 1
    high = max((y for _, y in points), default=0) or 1

    def place(x, y):
        across = left + (WIDTH - left - right) * x / wide
        down = height - bottom - (height - bottom - top) * y / high
        return across, down

    parts = _legend([one["name"] for one in series], 42)
    for step in range(5):
        x, y = wide * step / 4, high * step / 4
        across, down = place(x, y)
        parts.append(f'<line x1="{left}" y1="{down:.1f}" x2="{WIDTH - right}" y2="{down:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{down + 4:.1f}" text-anchor="end" {FONT}>{number(y)}</text>')
        parts.append(f'<text x="{across:.1f}" y="{height - bottom + 18}" text-anchor="middle" {FONT}>{number(x)}</text>')
    parts.append(f'<text x="{WIDTH - right}" y="{height - 8}" text-anchor="end" {FONT}>{escape(chart["x_unit"])}</text>')
    for one, color in zip(series, COLORS):
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in (place(x, y) for x, y in one["points"]))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
    return _page(height, f'{chart["title"]}, {chart["unit"]}', parts)
