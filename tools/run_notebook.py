"""Run all cells of a notebook in order and store their outputs.

    python tools/run_notebook.py demo/occ_order.ipynb

Stored are printed text and figures shown by `plt.show()` of Matplotlib, but not the values of last
lines.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import warnings
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

DPI = 60


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the code cells."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(notebook: dict[str, Any], name: str = "notebook") -> list[list[dict[str, Any]]]:
    """Run all cells in one namespace.

    Args:
        notebook: content of the file.
        name: name in tracebacks.

    Returns:
        The outputs of each code cell: printed text, then figures as PNG.
    """
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    namespace: dict[str, Any] = {"__name__": "notebook"}
    outputs = []
    shown = plt.show
    for cell in code_cells(notebook):
        figures: list[dict[str, Any]] = []
        printed = io.StringIO()
        plt.show = _keeper(figures)
        try:
            with contextlib.redirect_stdout(printed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                code = compile("".join(cell["source"]), f"{name}, {cell['id']}", "exec")
                exec(code, namespace)
        finally:
            plt.show = shown
        text = printed.getvalue().splitlines(keepends=True)
        stream = {"name": "stdout", "output_type": "stream", "text": text}
        outputs.append([*([stream] if text else []), *figures])
    return outputs


def _keeper(figures: list[dict[str, Any]]) -> Callable[[], None]:
    """Return a replacement of `plt.show` that stores the current figure."""

    def show() -> None:
        import matplotlib.pyplot as plt

        buffer = io.BytesIO()
        plt.gcf().savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
        data = {
            "image/png": b64encode(buffer.getvalue()).decode("ascii"),
            "text/plain": [f"<Figure with {len(plt.gcf().axes)} Axes>"],
        }
        figures.append({"output_type": "display_data", "metadata": {}, "data": data})

    return show


def main(arguments: Sequence[str] | None = None) -> int:
    """Run notebooks and write them with their outputs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path, help="notebooks; their code is run")
    for path in parser.parse_args(arguments).notebooks:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for k, (cell, found) in enumerate(
            zip(code_cells(notebook), run(notebook, path.name), strict=True), start=1
        ):
            cell["outputs"], cell["execution_count"] = found, k
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        print(f"{path}: {len(code_cells(notebook))} cells")
    return 0


if __name__ == "__main__":
    sys.exit(main())
