"""The page with the table of the hard cases, from the rows of a results file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CLASSES = {
    "right": "the file is within the limit, from the first command on",
    "right after a fix": "the same, once the printed fixes were pasted",
    "refused": "no file, and no fix that can be pasted: the reason is below",
    "inexact": "an integer file over the limit: the run warns of the output and names the op; its float file is right",
    "not verified": "a file with TensorFlow's own ops (Flex) that cannot run op by op either; the run reports it",
    "WRONG": "a file over the limit, and the run does not show it",
    "crash": "a library ended its process, or failed with an error that nothing expected; the run reports it",
    "no end of fixes": "a fix that leads to itself, or more than four fixes",
    "timeout": "no result within the time limit",
}


_PAGE = """# Hard models

This page shows what `tflite-recipes` makes of small models that are hard to convert. They are of kinds that people
reported in public, or that went wrong in trials. The page is written by this command:

    python benchmarks/gauntlet.py SCRIPTS --table docs/hard_models.md

SCRIPTS is a folder of scripts that write models. `benchmarks/README.md` describes them.

Each model runs in {schemes}.
Float runs get no samples, integer runs get the samples of the case. The fixes that a refused run prints are pasted
behind its command, at most four times. A file is then judged by what LiteRT computes with it, not by what the run
reported:

- on up to eight samples at the file's own batch, with and without the default delegates
- a file with TensorFlow's own ops (Flex), which no Python runtime can run, op by op: its other ops one by one in LiteRT
- without a reset between invokes; the first sample runs again at the end
- by the largest error of any output as a share of its range, or by the share of wrong elements of whole numbers
- by the drop of accuracy instead, if the case has labels: at most {drop} on 360 samples, about one standard error

| scheme | largest error | reason |
| --- | ---: | --- |
{limits}

"""


def page(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, tuple[float, str]], drop: float) -> str:
    """Return the whole page. `limits`: by scheme the largest error as a share of the range, and the reason."""
    lines = [_line(scheme, f"{limit:g}", reason) for scheme, (limit, reason) in limits.items()]
    head = _PAGE.format(schemes=", ".join(f"`{name}`" for name in limits), drop=drop, limits="\n".join(lines))
    return head + table(rows, list(limits))


def table(rows: Sequence[Mapping[str, Any]], schemes: Sequence[str]) -> str:
    """Return the counts by class, a row for each case, and the reasons of refusals, as Markdown."""
    counts = Counter((row["scheme"], row["class"]) for row in rows)
    by_case: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_case.setdefault(row["case"], {})[row["scheme"]] = row
    lines = [_line("class", *schemes, "meaning"), _line("---", *["---:"] * len(schemes), "---")]
    lines += [
        _line(name, *(str(counts[scheme, name]) for scheme in schemes), meaning)
        for name, meaning in CLASSES.items()
        if any(counts[scheme, name] for scheme in schemes)
    ]
    lines += ["", _line("case", *schemes), _line("---", *["---"] * len(schemes))]
    lines += [
        _line(f"`{case}`", *(_cell(found.get(scheme, {})) for scheme in schemes))
        for case, found in sorted(by_case.items())
    ]
    if fixes := _grouped((row, _code(row["fixes"])) for row in rows if row["fixes"]):
        lines += ["", "Fixes that were printed and pasted:", "", *fixes]
    if reasons := _grouped((row, text) for row in rows if (text := _reason(row))):
        lines += ["", "Why a case ends without a file:", "", *reasons]
    return "\n".join(lines) + "\n"


def _grouped(texts: Iterable[tuple[Mapping[str, Any], str]]) -> list[str]:
    """Return a line for each case and text, with the schemes that share it."""
    schemes: dict[tuple[str, str], list[str]] = {}
    for row, text in texts:
        schemes.setdefault((row["case"], text), []).append(row["scheme"])
    return [f"- `{case}`, {', '.join(names)}: {text}" for (case, text), names in sorted(schemes.items())]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(row: Mapping[str, Any]) -> str:
    if not row:
        return ""
    figure = f"drop {row['drop']:.3f}" if "drop" in row else f"{row['error']:.1e}" if "error" in row else ""
    return f"{row['class']} {figure}".strip()


def _code(texts: Sequence[str]) -> str:
    return ", then ".join(f"`{text}`" for text in texts)


def _reason(row: Mapping[str, Any]) -> str:
    problems = [f"{one['where']}: {one['what']}".removeprefix(": ") for one in row["problems"]]
    words = (row.get("exception") or row.get("reason") or "; ".join(problems)).split()
    return f"{row['class']}. {' '.join(words)}" if words else ""
