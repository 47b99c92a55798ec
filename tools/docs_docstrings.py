"""Turns reStructuredText that docstrings have into Markdown, for the API pages (griffe extension).

Docstrings are plain text that is read in the code. Two things in it are not Markdown: roles such as
``:func:`occ_order.load```, which become links, and simple tables.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")
RULE = re.compile(r"^ *=+(?: +=+)+ *$")


def linked(match: re.Match[str]) -> str:
    """Return a role as a link, which stays code where the name is on no page."""
    name = match[1]
    if not name.startswith("occ_order."):
        return f"`{name}`"
    return f'<autoref identifier="{name}" optional><code>{name}</code></autoref>'


def cells(line: str, starts: list[int]) -> list[str]:
    """Return the cells of a line of a simple table whose columns start there."""
    ends = [*starts[1:], None]
    found = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return [cell.replace("|", "\\|") for cell in found]


def table(lines: list[str]) -> list[str]:
    """Return a simple table, from its first rule to its last, as a Markdown table."""
    starts = [match.start() for match in re.finditer("=+", lines[0])]
    rules = [k for k, line in enumerate(lines) if RULE.match(line)]
    head = [cells(line, starts) for line in lines[1 : rules[1]]] if len(rules) > 2 else []
    rows: list[list[str]] = []
    for line in lines[rules[-2] + 1 : rules[-1]]:
        row = cells(line, starts)
        if rows and not row[0]:  # the row above goes on
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
    columns = len(starts)
    first = [" ".join(column).strip() for column in zip(*head, strict=True)] or [""] * columns
    return ["", *(f"| {' | '.join(row)} |" for row in (first, ["---"] * columns, *rows)), ""]


def to_markdown(docstring: str) -> str:
    """Return a docstring with its roles and tables as Markdown."""
    lines, result = docstring.split("\n"), []
    while lines:
        rules = [k for k, line in enumerate(lines) if RULE.match(line)]
        blank = next((k for k, line in enumerate(lines) if k and not line.strip()), len(lines))
        if rules and rules[0] == 0 and len(inside := [k for k in rules if k < blank]) > 1:
            result += table(lines[: inside[-1] + 1])
            lines = lines[inside[-1] + 1 :]
        else:
            result.append(lines.pop(0))
    return ROLE.sub(linked, "\n".join(result))


class Docstrings(griffe.Extension):
    """Changes every docstring when it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
