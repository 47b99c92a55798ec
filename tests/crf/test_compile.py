"""Compiling where nothing can be written, and running without numba."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import occ_order

ROOT = Path(occ_order.__file__).resolve().parents[1]


def run(code, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


def test_no_folder_for_the_cache_is_no_failure():
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from occ_order.crf import _compile\n"
        "assert _compile.kernel(lambda x: x + 1)(1) == 2\n"
        "print('fine')"
    )
    result = run(code)
    assert result.stdout == "fine\n", result.stderr


def test_a_kernel_follows_a_change_in_another_file(tmp_path):
    package = tmp_path / "kernels"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(ROOT / "occ_order" / "crf" / "_compile.py", package)
    (package / "_user.py").write_text(
        "from kernels._compile import kernel\n"
        "from kernels._used import value\n"
        "@kernel\n"
        "def twice():\n"
        "    return 2 * value()\n"
    )
    used = "from kernels._compile import kernel\n@kernel\ndef value():\n    return {}\n"
    code = (
        "from kernels._user import twice; n = twice(); s = twice.stats\n"
        "print(n, len(s.cache_hits), len(s.cache_misses))"
    )
    answers = []
    for number in (21, 21, 30):
        source = package / "_used.py"
        if not source.exists() or used.format(number) != source.read_text():
            source.write_text(used.format(number))
        answers.append(run(code, PYTHONPATH=str(tmp_path)).stdout)
    assert answers == ["42 0 1\n", "42 1 0\n", "60 0 1\n"]


@pytest.mark.parametrize("backend", ["auto", "pymaxflow"])
def test_without_numba_the_reference_solver_runs(backend):
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np\n"
        "from occ_order import crf\n"
        "pairs = np.zeros((4, 4, 6), bool); pairs[1, 1:3, 2] = True\n"
        "sigma = np.full((4, 6), 0.9); sigma[1:3, 1:5] = 0.1\n"
        f"print(crf.solve(sigma, pairs, smoothness=0.1, backend={backend!r}).labels[1].tolist())"
    )
    result = run(code)
    assert result.stdout == "[0, 2, 2, 1, 1, 0]\n", result.stderr


def test_the_compiled_solver_says_what_it_needs():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np\n"
        "from occ_order import crf\n"
        "crf.solve(np.zeros((2, 2)), np.zeros((4, 2, 2), bool), backend='grid')"
    )
    result = run(code)
    assert result.returncode != 0 and "pip install numba" in result.stderr
