"""The notebook runs from the first cell to the last, and lies here without its output."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

NOTEBOOK = Path(__file__).resolve().parents[1] / "demo" / "occ_order.ipynb"


def cells(kind):
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def test_every_cell_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(len(plt.gcf().axes)))
    namespace = {"__name__": "notebook"}
    for cell in cells("code"):
        source = "".join(cell["source"])
        exec(compile(source, f"{NOTEBOOK.name}, {cell['id']}", "exec"), namespace)
    assert shown == [3, 1, 2, 3]
    printed = capsys.readouterr().out
    assert len(namespace["found"]) >= 6
    assert float(re.search(r"weighted coverage: ([\d.]+)", printed)[1]) > 0.95
    assert not plt.get_fignums()


def test_it_is_kept_without_output():
    for cell in cells("code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]
    identities = [cell["id"] for kind in ("code", "markdown") for cell in cells(kind)]
    assert len(set(identities)) == len(identities)


def test_links_of_its_text_lead_somewhere():
    text = "".join("".join(cell["source"]) for cell in cells("markdown"))
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        assert (NOTEBOOK.parent / link).exists(), link
