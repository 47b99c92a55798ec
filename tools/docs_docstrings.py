"""Convert reStructuredText in docstrings to Markdown for the API pages (griffe extension).

Docstrings are mostly plain text. Two constructs are not valid Markdown: roles such as
``:func:`occ_order.load```, which become links, and simple tables.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")
RULE = re.compile(r"^ *=+(?: +=+)+ *$")


def linked(match: re.Match[str]) -> str:
    """Convert a role to a link, or to code if the name has no page."""
    name = match[1]
    if not name.startswith("occ_order."):
        return f"`{name}`"
    return f'<autoref identifier="{name}" optional><code>{name}</code></autoref>'


def cells(line: str, starts: list[int]) -> list[str]:
    """Split a line of a simple table into cells at the given columns."""
    ends = [*starts[1:], None]
    found = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return [cell.replace("|", "\\|") for cell in found]


def table(lines: list[str]) -> list[str]:
    """Convert a simple table, from its first rule to its last, to a Markdown table."""
    starts = [match.start() for match in re.finditer("=+", lines[0])]
    rules = [k for k, line in enumerate(lines) if RULE.match(line)]
    head = [cells(line, starts) for line in lines[1 : rules[1]]] if len(rules) > 2 else []
    rows: list[list[str]] = []
    for line in lines[rules[-2] + 1 : rules[-1]]:
        row = cells(line, starts)
        if rows and not row[0]:  # continuation of the previous row
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
    columns = len(starts)
    first = [" ".join(column).strip() for column in zip(*head, strict=True)] or [""] * columns
    return ["", *(f"| {' | '.join(row)} |" for row in (first, ["---"] * columns, *rows)), ""]


def to_markdown(docstring: str) -> str:
    """Convert roles and tables in a docstring to Markdown."""
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
    """Convert every docstring when it is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Convert the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
