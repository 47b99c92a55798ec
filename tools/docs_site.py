"""MkDocs hook that adds documents of the repository to the documentation site.

The site consists of `docs/` and of documents elsewhere in the repository: README.md, INSTALL.md,
projects/OOSIS/README.md and so on, which become pages at the same path. Links between files are
those of the repository; they are converted to links of the site:

* to a document: its page;
* to an image or another file that browsers display or download: a copy;
* to source text (code, configs): a page that displays it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("*.md", "datasets/*.md", "projects/*/*.md")
"""Documents outside docs/ that become pages."""

SOURCES = {
    ".cff": "yaml",
    ".json": "json",
    ".py": "python",
    ".toml": "toml",
    ".txt": "text",
    ".yaml": "yaml",
    ".yml": "yaml",
    "LICENSE": "text",
    "Makefile": "make",
}
"""Extensions, or names, of files shown as source text, and the language for highlighting."""

LONGEST = 100_000
"""Maximum size of a source text in bytes; longer ones are copied for download."""

CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()<?(?P<inline>[^)\s>#]+)|(?<=src=\")(?P<html>[^\"#]+)")


def documents() -> dict[str, str]:
    """Return path in the repository -> absolute path of all documents outside docs/, sorted."""
    found = sorted(path for place in DOCUMENTS for path in ROOT.glob(place))
    return {path.relative_to(ROOT).as_posix(): str(path) for path in found}


def in_repository(page: str) -> str:
    """Return the path in the repository of a page of the site."""
    return page if page in documents() else f"docs/{page}"


def in_site(target: str) -> str:
    """Return the path in the site of a file of the repository.

    Raises:
        PluginError: the file does not exist.
    """
    path = ROOT / target
    if path.is_dir() and (path / "README.md").is_file():
        target, path = f"{target.rstrip('/')}/README.md", path / "README.md"
    if not path.exists():
        raise PluginError(f"a document links to {target}: there is no such file")
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"source/{target.rstrip('/')}.md" if is_source(path) else target


def is_source(path: Path) -> bool:
    """Return whether a file is shown as source text; folders are shown as lists of files."""
    known = path.suffix in SOURCES or path.name in SOURCES
    return path.is_dir() or (known and path.stat().st_size <= LONGEST)


def source_page(path: Path) -> str:
    """Return the Markdown of a page with a source text, excluded from the search."""
    if path.is_dir():
        language = "text"
        names = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        text = "\n".join(sorted(name for name in names if "__pycache__" not in name))
    else:
        language = SOURCES.get(path.suffix) or SOURCES[path.name]
        text = path.read_text(encoding="utf-8").rstrip()
    head = "---\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n"
    return f"{head}# {path.relative_to(ROOT).as_posix()}\n\n~~~~~{language}\n{text}\n~~~~~\n"


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Apply `change` to the text of Markdown, but not to code."""
    parts, end = [], 0
    for code in CODE.finditer(markdown):
        parts += [change(markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(markdown[end:])])


def links(page: str, markdown: str) -> Iterator[str]:
    """Yield the paths in the repository of all files that a page links to."""
    for match in LINK.finditer(CODE.sub("", markdown)):
        target = match["inline"] or match["html"]
        if not re.match(r"[a-z]+:", target):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def with_links_of_the_site(page: str, markdown: str) -> str:
    """Convert the links of a page to links of the site.

    Args:
        page: path of the page in the site.
        markdown: content in the repository.
    """
    here, folder = posixpath.dirname(page), posixpath.dirname(in_repository(page))

    def one(match: re.Match[str]) -> str:
        target = match["inline"] or match["html"]
        if re.match(r"[a-z]+:", target):
            return match[0]
        found = in_site(posixpath.normpath(posixpath.join(folder, target)))
        return posixpath.relpath(found, here or ".")

    return outside_code(markdown, lambda text: LINK.sub(one, text))


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add documents outside docs/, and files that pages link to."""
    for name, path in documents().items():
        files.append(File.generated(config, name, abs_src_path=path))
    pages = [file for file in files if file.is_documentation_page()]
    linked = {
        target
        for file in pages
        for target in links(in_repository(file.src_uri), file.content_string)
    }
    for target in sorted(linked):
        place = in_site(target)
        if files.get_file_from_path(place) is None:
            path = ROOT / target
            given = (
                {"content": source_page(path)}
                if place.startswith("source/")
                else {"abs_src_path": str(path)}
            )
            added = File.generated(config, place, inclusion=InclusionLevel.NOT_IN_NAV, **given)
            files.append(added)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert the links of a page to links of the site."""
    if page.file.src_uri.startswith("source/"):
        return markdown
    return with_links_of_the_site(page.file.src_uri, markdown)
