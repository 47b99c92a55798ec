"""Every section, equation, table and figure that the code and the documents name is in the paper.

The lists below are the headings and numbers of the three papers and their supplements.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("occ_order", "configs", "projects", "datasets", "demo", "docs", "tools", "tests")


def numbers(text: str) -> set[str]:
    """The numbers of a list; "5-8" stands for 5, 6, 7, 8."""
    found = set()
    for word in text.split():
        low, _, high = word.partition("-")
        prefix = low.rstrip("0123456789")
        first, last = int(low[len(prefix) :] or 0), int(high.removeprefix(prefix) or 0)
        found |= {f"{prefix}{k}" for k in range(first, last + 1)} if high else {word}
    return found


PAPERS = {
    # Lee and Park, CVPR 2022; "A" is its supplement.
    "InstaOrder": {
        "section": numbers(
            "1 2 3 3.1 3.2 3.3 3.4 4 4.1 4.2 5 5.1 5.2 5.3 6 A1 A1.1 A1.2 A1.3 A2 A2.1 A2.2 "
            "A3 A3.1 A3.2 A3.3 A3.4 A4 A4.1 A4.2 A4.3 A4.4 A5"
        ),
        "supplement": set(),
        "equation": numbers("1 A1-A8"),
        "table": numbers("1-4 A1 A2"),
        "figure": numbers("1-6 A1-A3"),
    },
    # Baselizadeh, Yu, Veksler and Boykov.
    "OOSIS": {
        "section": numbers("1 2 3 3.1 3.2 3.3 4 5 5.1 5.2 5.3 5.4 5.5 5.6 5.7"),
        "supplement": numbers("1 1.1 1.2 1.3 1.4 2 3 3.1 3.2 4"),
        "equation": numbers("1-16"),
        "table": numbers("1-6"),
        "figure": numbers("1-12"),
    },
    # Zhang, Chen, Xie, Yu and Gao, ACM Multimedia 2019.
    "SLN": {
        "section": numbers("1 2 2.1 2.2 2.3 2.4 3 4 4.1 4.2 4.3 4.4 4.5 4.6 5 5.1 5.2 5.3 6"),
        "supplement": set(),
        "equation": numbers("1-6"),
        "table": numbers("1-3"),
        "figure": numbers("1-6"),
    },
}
LETTERED = {("OOSIS", "table", "3"), *(("InstaOrder", "figure", k) for k in "123456")}
"""Tables and figures whose parts have letters that are named."""

NAMES = {
    "InstaOrder": r"InstaOrder|InstaDepthNet|Lee (?:&|and) Park|CVPR 2022|OrderNet|disparity",
    "OOSIS": r"OOSIS|Occlusion-Ordered",
    "SLN": r"SLN|Semantics Layering|ACM MM|sem-dist",
}
PLACES = {
    "OOSIS": r"oosis|crf|oair|coverage|boundary|oriented_boundary|detector_order|main_job",
    "SLN": r"sln|layering|amodal|level",
    "InstaOrder": (
        r"instaorder|pair|disparity|depth|whdr|occlusion\.py|statistics|baseline|COCOA|KINS|annotate|"
        r"OrderHead|order_head|encoding|scenes|report\.py|order\.py|midas"
    ),
}
OTHERS = re.compile(r"\b(?!Zhang )[A-Z]\w+ et al\.")
"""Papers whose numbers are not listed here; the three are named otherwise."""

KINDS = {
    "section": r"[Ss]ections?|Sec\.",
    "supplement": r"[Ss]upplement",
    "equation": r"Eqs?\.|Equations?",
    "table": r"Tables?",
    "figure": r"Figs?\.|Figures?",
}
ONE = r"A?\d+(?:\.\d+)*[a-d]?"
JOINED = rf"(?:(?:-|,\s+(?:and\s+)?|\s+(?:and|to)\s+){ONE})*"
REFERENCE = re.compile(rf"\b({'|'.join(KINDS.values())})\s+({ONE}{JOINED})")


def kind_of(word: str) -> str:
    return next(kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, word))


def references(text: str) -> list[tuple[int, str, str]]:
    """(place, kind, number) of everything that a text names; both ends of a range."""
    flat = re.sub(r"\n\s*(?:#|//)?\s*", lambda match: " " * len(match[0]), text)
    found = []
    for match in REFERENCE.finditer(flat):
        kind = kind_of(match[1])
        found += [(match.start(), kind, number) for number in re.findall(ONE, match[2])]
    return found


def papers_of(path: str, text: str, place: int) -> list[str]:
    """The papers that a reference can mean: named nearby, else by the file, else any."""
    near = text[max(0, place - 150) : place + 40]
    if OTHERS.search(near):
        return []
    named = [paper for paper, pattern in NAMES.items() if re.search(pattern, near)]
    by_place = [paper for paper, pattern in PLACES.items() if re.search(pattern, path, re.I)]
    return by_place if len(by_place) == 1 and not named else named or by_place or list(PAPERS)


def exists(paper: str, kind: str, number: str) -> bool:
    known = PAPERS[paper]
    if kind == "supplement" and paper == "InstaOrder":
        kind = "section"
        number = number if number.startswith("A") else f"A{number}"
    plain = number.rstrip("abcd")
    if plain != number and (paper, kind, plain) not in LETTERED:
        return False
    return plain in known[kind]


def files() -> list[Path]:
    below = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file()]
    kept = [p for p in (*below, *ROOT.glob("*.md")) if p.suffix in (".py", ".md", ".yaml")]
    return sorted(p for p in kept if p != Path(__file__).resolve())


def faults_of(path: str, text: str) -> list[str]:
    found = []
    for place, kind, number in references(text):
        papers = papers_of(path, text, place)
        if papers and not any(exists(paper, kind, number) for paper in papers):
            line = text.count("\n", 0, place) + 1
            found.append(f"{path}:{line}: {' and '.join(papers)} has no {kind} {number}")
    return found


def test_every_reference_exists():
    faults = [
        fault
        for file in files()
        for fault in faults_of(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))
    ]
    assert not faults, "\n" + "\n".join(faults)


def test_many_references_are_found():
    count = sum(len(references(file.read_text(encoding="utf-8"))) for file in files())
    assert count > 300


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("occ_order/crf/solve.py", "jump moves (Section 4.2)", ["OOSIS has no section 4.2"]),
        ("occ_order/crf/solve.py", "OOSIS Sections 3.2\n# and 4.3", ["OOSIS has no section 4.3"]),
        ("occ_order/crf/solve.py", "Sections 3.2 and 3.3, Eq. 9-13, Fig. 5", []),
        ("projects/SLN/README.md", "Section 3.3, Eq. 4-7", ["section 3.3", "equation 7"]),
        ("occ_order/methods/oosis/losses.py", "Table 3b and Fig. 13; supplement 5", ["13", "5"]),
        ("occ_order/a.py", "InstaOrder, Fig. 4b, Table A3", ["InstaOrder has no table A3"]),
        ("occ_order/a.py", "Table 9", ["InstaOrder and OOSIS and SLN has no table 9"]),
        ("occ_order/a.py", "Zhan et al. (CVPR 2020), Section 9.1", []),
        ("occ_order/a.py", "InstaOrder's supplement A4.1 and Table 3b", ["no table 3b"]),
    ],
)
def test_a_reference_that_does_not_exist_is_found(path, text, expected):
    found = faults_of(path, text)
    assert len(found) == len(expected)
    assert all(part in fault for part, fault in zip(expected, found, strict=True))


TABLE = re.compile(r"^## From the paper to the code\n(.*?)^(?!\||\n)", re.MULTILINE | re.DOTALL)
WITHOUT_CODE = {"OOSIS": {"15"}, "InstaOrder": set(), "SLN": set()}
"""Equations that nothing computes: OOSIS shows by Eq. 15 that a term is not submodular."""


def equations_with_code(paper: str) -> set[str]:
    """Equations that a row of a table of the paper's documents leads from to a file."""
    found: set[str] = set()
    for document in (ROOT / "projects" / paper).glob("*.md"):
        for table in TABLE.findall(document.read_text(encoding="utf-8")):
            for row in table.splitlines():
                named = re.findall(r"Eq\. ([A\d]+(?:-[A\d]+)?)", row)
                found |= numbers(" ".join(named)) if ".py)" in row else set()
    return found


@pytest.mark.parametrize("paper", PAPERS)
def test_every_equation_leads_to_code(paper):
    assert PAPERS[paper]["equation"] - WITHOUT_CODE[paper] == equations_with_code(paper)


def test_the_authors_of_the_papers():
    authors = {
        "InstaOrder": "Hyunmin Lee and Jaesik Park",
        "OOSIS": "Baselizadeh, Yu, Veksler, Boykov",
        "SLN": "Zhang, Chen, Xie, Yu, Gao",
    }
    for project, names in authors.items():
        assert names in (ROOT / "projects" / project / "README.md").read_text(encoding="utf-8")
