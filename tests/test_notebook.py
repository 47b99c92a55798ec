"""The notebook runs from the first cell to the last, and holds what it prints and shows."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "demo" / "occ_order.ipynb"


def notebook():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


@pytest.fixture
def runner(load_script):
    """tools/run_notebook.py as a module."""
    return load_script("tools/run_notebook.py")


def printed(outputs):
    """What is printed, numbers after the point left out: machines differ in the last digits."""
    lines = "".join("".join(one["text"]) for one in outputs if one["output_type"] == "stream")
    return re.sub(r"\.\d+", ".", lines)


def axes(outputs):
    figures = [one for one in outputs if one["output_type"] == "display_data"]
    return ["".join(one["data"]["text/plain"]) for one in figures]


def test_every_cell_runs_and_its_stored_output_is_what_it_gives(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import matplotlib.pyplot as plt

    stored = [cell["outputs"] for cell in runner.code_cells(notebook())]
    found = runner.run(notebook(), NOTEBOOK.name)
    assert list(map(printed, found)) == list(map(printed, stored))
    assert list(map(axes, found)) == list(map(axes, stored))
    assert sum(len(axes(outputs)) for outputs in stored) == 4
    text = "".join(map(printed, stored))
    assert "cup 1 occludes spoon 2" in text and "weighted coverage: 0." in text
    assert not plt.get_fignums()


def test_it_is_small_and_its_cells_have_names():
    cells = notebook()["cells"]
    identities = [cell["id"] for cell in cells]
    assert len(set(identities)) == len(identities)
    assert NOTEBOOK.stat().st_size < 600_000
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_links_of_its_text_lead_somewhere():
    texts = [cell for cell in notebook()["cells"] if cell["cell_type"] == "markdown"]
    text = "".join("".join(cell["source"]) for cell in texts)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        assert (NOTEBOOK.parent / link).exists(), link


def test_the_command_stores_what_a_notebook_gives(runner, tmp_path, capsys):
    source = ["import matplotlib.pyplot as plt\n", "print('hello')\n", "plt.subplots(1, 2)\n"]
    source += ["plt.show()\n", "plt.close()"]
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": source}
    page = {"cells": [{**cell, "execution_count": None, "outputs": []}], "metadata": {}}
    (tmp_path / "n.ipynb").write_text(json.dumps(page))
    assert runner.main([str(tmp_path / "n.ipynb")]) == 0
    (stored,) = json.loads((tmp_path / "n.ipynb").read_text())["cells"]
    assert stored["execution_count"] == 1 and printed(stored["outputs"]) == "hello\n"
    assert axes(stored["outputs"]) == ["<Figure with 2 Axes>"]
    assert capsys.readouterr().out.endswith("1 cells\n")
