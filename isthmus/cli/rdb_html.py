"""The page that `isthmus rdb --html` writes: one file, charts as SVG within it (pure).

Nothing is loaded from anywhere, and no script runs. Keys are bytes that strangers chose, so every
text goes through `_safe` on its way in. Colours follow the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Row = tuple[str, int, str]
BAR_HEIGHT, ROW_HEIGHT, NAME_WIDTH, BAR_WIDTH = 16, 24, 220, 460
NAME_CHARACTERS = 34
_STYLE = """
:root{color-scheme:light dark;
--ink:#1c2430;--soft:#5d6b7c;--paper:#fff;--line:#dde3ea;--bar:#2f6fb2}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ef;--soft:#9aa7b6;--paper:#14181d;--line:#2c343d;
--bar:#6aa5e0}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:900px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}p{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:500}svg{max-width:100%;height:auto}
text{font:13px system-ui,sans-serif;fill:var(--ink)}.figure{fill:var(--soft)}rect{fill:var(--bar)}
"""


def page(title: str, facts: str, parts: Sequence[str]) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_safe(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_safe(title)}</h1><p>{_safe(facts)}</p>{''.join(parts)}</body></html>\n"
    )


def chart(title: str, rows: Sequence[Row]) -> str:
    """Horizontal bars: a name, a figure that is its length, and how that is written."""
    if not rows:
        return ""
    most = max(figure for _, figure, _ in rows) or 1
    height = ROW_HEIGHT * len(rows)
    width = NAME_WIDTH + BAR_WIDTH + 220
    drawn = []
    for at, (name, figure, text) in enumerate(rows):
        y = at * ROW_HEIGHT
        long = BAR_WIDTH * figure / most
        shown = name if len(name) <= NAME_CHARACTERS else name[: NAME_CHARACTERS - 1] + "…"
        drawn.append(
            f'<text x="{NAME_WIDTH - 8}" y="{y + 16}" text-anchor="end">{_safe(shown)}'
            f"<title>{_safe(name)}</title></text>"
            f'<rect x="{NAME_WIDTH}" y="{y + 4}" width="{max(long, 1):.1f}" '
            f'height="{BAR_HEIGHT}" rx="2"/>'
            f'<text class="figure" x="{NAME_WIDTH + long + 8:.1f}" y="{y + 16}">'
            f"{_safe(text)}</text>"
        )
    return (
        f'<h2>{_safe(title)}</h2><svg viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{_safe(title)}">{"".join(drawn)}</svg>'
    )


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; its first column is text, the others are figures."""
    if not rows:
        return ""
    head = "".join(f"<th>{_safe(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<h2>{_safe(title)}</h2><table><tr>{head}</tr>{body}</table>"


def _safe(text: str) -> str:
    return escape(text, quote=True)
