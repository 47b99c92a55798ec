"""The documentation site builds without a warning, and holds what it promises."""

from __future__ import annotations

import html
import importlib
import json
import os
import re
import subprocess
import sys
import types
import zlib
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason='mkdocs is not installed: pip install -e ".[docs]"')
pytest.importorskip("material", reason='mkdocs-material is not installed: pip install -e ".[docs]"')
pytest.importorskip("mkdocstrings", reason='not installed: pip install -e ".[docs]"')

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = (
    "occ_order",
    "occ_order.config",
    "occ_order.crf",
    "occ_order.draw",
    "occ_order.formats",
    "occ_order.lite",
    "occ_order.metrics",
    "occ_order.model_zoo",
    "occ_order.order",
    "occ_order.scenes",
    "occ_order.scenes.photographs",
    "occ_order.targets",
)
"""Modules whose `__all__` is the API; without PyTorch those of them that do not need it."""


@pytest.fixture
def tool(monkeypatch):
    """Imports a module of tools/."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module


def test_links_between_files_become_links_of_the_site(tool):
    change = tool("docs_site").with_links_of_the_site
    assert change("howto/sam.md", "[a](../../INSTALL.md#x), ![b](../images/coffee_order.jpg)") == (
        "[a](../INSTALL.md#x), ![b](../images/coffee_order.jpg)"
    )
    assert change(
        "projects/SLN/README.md", "[c](../../occ_order/masks.py) [d](../../datasets)"
    ) == ("[c](../../source/occ_order/masks.py.md) [d](../../datasets/README.md)")
    assert change("README.md", "[e](docs/zoo.md) [f](https://a.b/c) `[g](no.md)` [h](#top)") == (
        "[e](zoo.md) [f](https://a.b/c) `[g](no.md)` [h](#top)"
    )


def test_a_link_to_nothing_is_named(tool):
    from mkdocs.exceptions import PluginError

    with pytest.raises(
        PluginError, match=r"links to docs/howto/nothing\.md: there is no such file"
    ):
        tool("docs_site").with_links_of_the_site("howto/sam.md", "[a](nothing.md)")


def test_roles_and_tables_of_docstrings_become_markdown(tool):
    docstring = """Some of :class:`Scene`, see :func:`occ_order.load`.

    ====  =========
    kind  what
    ====  =========
    a     one |
          two
    b     three
    ====  =========
    """
    assert [
        line.strip() for line in tool("docs_docstrings").to_markdown(docstring).split("\n")
    ] == [
        "Some of `Scene`, see "
        '<autoref identifier="occ_order.load" optional><code>occ_order.load</code></autoref>.',
        "",
        "",
        "| kind | what |",
        "| --- | --- |",
        "| a | one \\| two |",
        "| b | three |",
        "",
        "",
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` does but for the colours of code, which take half as long."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    plain = {**os.environ, "OCC_ORDER_DOCS_COLOURS": "false"}
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def text_of(page: Path) -> str:
    """What a page says, without tags and scripts."""
    code = re.sub(r"<script.*?</script>|<style.*?</style>", "", page.read_text("utf-8"), flags=re.S)
    return html.unescape(re.sub(r"<[^>]+>", "", code))


def test_every_document_of_the_repository_is_a_page(site):
    found = [*ROOT.glob("*.md"), *ROOT.glob("datasets/*.md"), *ROOT.glob("projects/*/*.md")]
    assert len(found) > 10
    for document in found:
        name = document.relative_to(ROOT).with_suffix(".html").as_posix()
        page = site / re.sub("README.html$", "index.html", name)
        title = re.search(r"^# (.*)", document.read_text("utf-8"), re.MULTILINE)[1]
        assert title.replace("`", "") in text_of(page), name


def test_links_of_the_repository_lead_to_pages_of_the_site(site):
    page = (site / "projects" / "OOSIS" / "index.html").read_text("utf-8")
    assert 'href="../../source/occ_order/crf/energy.py.html"' in page
    assert 'href="../../datasets/index.html"' in page
    shown = text_of(site / "source" / "occ_order" / "crf" / "energy.py.html")
    assert "def energy(" in shown


def test_no_page_asks_another_server_for_anything(site):
    faults = []
    for page in site.rglob("*.html"):
        loads = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text("utf-8"))
        faults += [tag for tag in loads if re.search(r"(?:src|href)=\"?(?:https?:)?//", tag)]
    assert faults == []


def test_lists_and_tables_are_not_left_as_text(site):
    faults = [
        f"{page.relative_to(site)}: {line.strip()}"
        for page in site.rglob("*.html")
        if "source" not in page.parts
        for line in re.sub(r"<pre.*?</pre>", "", page.read_text("utf-8"), flags=re.S).splitlines()
        if re.match(r"\s*(?:<p>)?(?:[*-] \w|\|.*\|\s*$|```)", line)
    ]
    assert faults == []


def test_every_public_name_is_in_the_api(site):
    data = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    known = {line.split(" ")[0] for line in zlib.decompress(data).decode().splitlines()}
    missing = []
    for name in PUBLIC:
        module = importlib.import_module(name)
        for member in module.__all__:
            value = getattr(module, member)
            if isinstance(value, types.ModuleType) or member.startswith("__"):
                continue
            places = [f"{name}.{member}", f"{name}.{member}.{member}"]
            if hasattr(value, "__module__"):
                places.append(f"{value.__module__}.{member}")
            if not known & set(places):
                missing.append(places[0])
    assert missing == []


def test_the_search_finds_pages_and_no_source_text(site):
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    places = {entry["location"].split("#")[0] for entry in index["docs"]}
    assert {"concepts/glossary.html", "howto/sam.html", "api/crf.html"} <= places
    assert not [place for place in places if place.startswith("source/")]


def test_the_glossary_has_fifteen_words(site):
    page = (site / "concepts" / "glossary.html").read_text("utf-8")
    assert len(re.findall(r"<dt>", page)) == len(re.findall(r"<dd>", page)) == 15


def test_images_are_those_that_are_drawn():
    """docs/images/draw.py draws each, and nothing else lies there; 1.5 MB at most."""
    folder = ROOT / "docs" / "images"
    source = (folder / "draw.py").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^    \"(\w+\.(?:png|jpg))\":", source, re.MULTILINE))
    files = {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix != ".py"}
    files.pop("__pycache__", None)
    assert drawn == set(files)
    assert sum(files.values()) < 1_500_000
