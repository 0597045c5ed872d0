"""The page that all our HTML stands in: one style, a table of contents, nothing loaded and nothing run.

It is read on its own, printed, and in MLflow's artifact viewer: a sandboxed frame of some 700 pixels, whose
surroundings may be dark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

_STYLE = """
:root { color-scheme: light; background: #fff; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem;
       color: #1c2733; background: #fff; overflow-wrap: anywhere; }
h1 { margin: 0; line-height: 1.2; } h1 + p { margin-top: .2rem; }
h2 { margin: 2rem 0 .6rem; border-bottom: 1px solid #d5dce3; } h3 { margin: 1.2rem 0 .4rem; }
table { border-collapse: collapse; margin: .4rem 0; max-width: 100%; }
td, th { padding: .2rem 1rem .2rem 0; text-align: left; vertical-align: top; }
td:last-child, th:last-child { padding-right: 0; }
th { font-weight: 600; color: #46535f; overflow-wrap: break-word; }
td.long { min-width: 7rem; }
td.type { min-width: 6.5rem; } td.name { min-width: 8.5rem; }
td.word { overflow-wrap: break-word; } td.passed, td.failed { white-space: nowrap; }
td.n, th.n { text-align: right; } td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.id { overflow-wrap: anywhere; font: 12px/1.6 ui-monospace, monospace; color: #62707d; }
table.dense { font-size: 13px; } table.dense td.long { min-width: 8rem; }
table.dense td, table.dense th { padding-right: .6rem; }
tr + tr td { border-top: 1px solid #eef1f4; }
.passed { color: #11734b; } .failed { color: #b3261e; } .muted { color: #62707d; }
.verdict { font-size: 1.15rem; margin: .8rem 0; padding: .5rem .8rem; border-left: 4px solid currentColor;
           background: #f3f6f8; }
.verdict p { margin: .2rem 0; color: #1c2733; font-size: 15px; }
nav { font-size: 13px; margin: .8rem 0; }
nav label { margin-right: .9rem; white-space: nowrap; display: inline-block; color: #1f6595;
            text-decoration: underline; cursor: pointer; }
h2 input { appearance: none; width: 1px; height: 1px; margin: 0; outline: none; scroll-margin: 1rem 0 85vh; }
a { color: #1f6595; } code { font: 13px/1.4 ui-monospace, monospace; }
pre { font: 12px/1.5 ui-monospace, monospace; background: #f3f6f8; padding: .8rem; margin: .4rem 0;
      white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: #1f6595; } details { margin: .4rem 0; }
svg { max-width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; }
@media (max-width: 640px) { td, th { padding-right: .6rem; } }
@media print {
  body { max-width: none; margin: 0; font-size: 11px; } nav { display: none; }
  h2, h3 { break-after: avoid; } tr, svg { break-inside: avoid; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""
# Below this many sections a page needs no table of contents.
_FEWEST = 5
_HEADING = re.compile(r"<h2>(.*?)</h2>", re.DOTALL)


def document(title: str, parts: Iterable[str]) -> str:
    """A page of our style from the HTML of its parts, the first its head; where the rest has several sections, a table
    of contents stands between."""
    first, *rest = [part for part in parts if part] or [""]
    body, titles = _numbered("".join(rest))
    contents = _contents(titles) if len(titles) >= _FEWEST else ""
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{first}{contents}{body}</body></html>"


def section(title: str, body: str) -> str:
    """A section with its heading, "" where there is nothing in it."""
    return f"<h2>{escape(title)}</h2>{body}" if body else ""


def folded(title: str, body: str) -> str:
    """What is there for whoever opens it, and in print."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""


def _numbered(body: str) -> tuple[str, list[str]]:
    """The headings with a field each, to be found by, and what they say. Text of a model is escaped, and is none.

    A link to a place of the page itself does nothing in MLflow's frame, whose sandbox may not load the page's own
    address. A label takes the reader to its field wherever it is shown.
    """
    titles: list[str] = []

    def linked(found: re.Match[str]) -> str:
        titles.append(found[1])
        return f"<h2><input type='radio' name='at' id='s{len(titles)}'>{found[1]}</h2>"

    return _HEADING.sub(linked, body), titles


def _contents(titles: Iterable[str]) -> str:
    labels = (f"<label for='s{number}'>{title}</label>" for number, title in enumerate(titles, 1))
    return f"<nav>{' '.join(labels)}</nav>"
