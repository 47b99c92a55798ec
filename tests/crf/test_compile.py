"""Compiling where nothing can be written, and running without numba."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import occ_order

ROOT = Path(occ_order.__file__).resolve().parents[1]


def run(code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def run_with_numba(forked):
    """Function that runs code in another process, which has numba and none of the packages here."""
    numba = pytest.importorskip("numba")
    numba.njit(lambda x: x + 1)(1)  # what the first compilation loads, the others find loaded

    def execute(code, folder):
        sys.path.insert(0, str(folder))
        exec(code, {})

    def run(code, folder=ROOT):
        return forked(execute, code, folder).wait()

    return run


def test_no_folder_for_the_cache_is_no_failure(run_with_numba):
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from occ_order.crf._kernels import compile\n"
        "assert compile.kernel(lambda x: x + 1)(1) == 2\n"
        "print('fine')"
    )
    result = run_with_numba(code)
    assert result.stdout == "fine\n", result.stderr


def test_a_kernel_follows_a_change_in_another_file(tmp_path, run_with_numba):
    package = tmp_path / "kernels"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(ROOT / "occ_order" / "crf" / "_kernels" / "compile.py", package)
    (package / "user.py").write_text(
        "from kernels.compile import kernel\n"
        "from kernels.used import value\n"
        "@kernel\n"
        "def twice():\n"
        "    return 2 * value()\n"
    )
    used = "from kernels.compile import kernel\n@kernel\ndef value():\n    return {}\n"
    code = (
        "from kernels.user import twice; n = twice(); s = twice.stats\n"
        "print(n, len(s.cache_hits), len(s.cache_misses))"
    )
    answers = []
    for number in (21, 21, 300):  # of another size: times of files are compared by seconds
        source = package / "used.py"
        if not source.exists() or used.format(number) != source.read_text():
            source.write_text(used.format(number))
        answers.append(run_with_numba(code, tmp_path).stdout)
    assert answers == ["42 0 1\n", "42 1 0\n", "600 0 1\n"]


@pytest.fixture(scope="module")
def cached(tmp_path_factory, run_with_numba):
    """A package of one kernel that was called once, and what calls it again."""
    folder = tmp_path_factory.mktemp("cached")
    package = folder / "kernels"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(ROOT / "occ_order" / "crf" / "_kernels" / "compile.py", package)
    text = "from kernels.compile import kernel\n@kernel\ndef plus(x):\n    return x + 1\n"
    (package / "user.py").write_text(text)
    code = (
        "from kernels.user import plus; s = plus.stats\n"
        "print(plus(1), plus(2), len(s.cache_hits), len(s.cache_misses))"
    )
    result = run_with_numba(code, folder)
    assert result.stdout == "2 3 0 1\n", result.stderr
    return folder, code


def test_a_kernel_that_takes_a_record_is_kept_for_the_next_process(
    cached, tmp_path, run_with_numba
):
    folder = tmp_path / "copy"
    shutil.copytree(cached[0], folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "kernels" / "user.py").write_text(
        "from typing import NamedTuple\n"
        "import numpy as np\n"
        "from kernels.compile import kernel\n"
        "class Costs(NamedTuple):\n"
        "    first: int\n"
        "    others: np.ndarray\n"
        "@kernel\n"
        "def total(costs):\n"
        "    return costs.first + costs.others[1]\n"
    )
    code = (
        "import numpy as np; from kernels.user import Costs, total; s = total.stats\n"
        "print(total(Costs(1, np.arange(5, 7))), len(s.cache_hits), len(s.cache_misses))"
    )
    answers = [run_with_numba(code, folder).stdout for _ in range(2)]
    assert answers == ["7 0 1\n", "7 1 0\n"]


DAMAGE = {
    "empty index": ("*.nbi", lambda data: b""),
    "cut index": ("*.nbi", lambda data: data[: len(data) // 2]),
    "cut code": ("*.nbc", lambda data: data[:100]),
    "no code": ("*.nbc", lambda data: b"x"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_cache_is_compiled_anew_with_one_warning(cached, tmp_path, case, run_with_numba):
    folder = tmp_path / "copy"
    shutil.copytree(cached[0], folder)
    pattern, damage = DAMAGE[case]
    cache = folder / "kernels" / "__pycache__"
    files = list(cache.glob(pattern))
    assert files
    for file in files:
        file.write_bytes(damage(file.read_bytes()))
    # The copy of the source has another time, which numba would notice before the damage.
    os.utime(folder / "kernels/user.py", ns=(0, (cached[0] / "kernels/user.py").stat().st_mtime_ns))
    results = [run_with_numba(cached[1], folder) for _ in range(2)]
    assert [result.stdout for result in results] == ["2 3 0 1\n", "2 3 1 0\n"], results
    assert results[0].stderr.count("numba's cache cannot be read") == 1
    assert results[1].stderr == ""


def test_a_damaged_stamp_of_the_sources_is_written_anew(cached, tmp_path, run_with_numba):
    folder = tmp_path / "copy"
    shutil.copytree(cached[0], folder)
    stamp = folder / "kernels" / "__pycache__" / "sources.sha256"
    before = stamp.read_bytes()
    stamp.write_bytes(b"\xff" + before)
    assert run_with_numba(cached[1], folder).stdout == "2 3 0 1\n"
    assert stamp.read_bytes() == before


def test_a_full_disk_leaves_the_code_uncached(cached, tmp_path, run_with_numba):
    folder = tmp_path / "copy"
    shutil.copytree(cached[0], folder, ignore=shutil.ignore_patterns("__pycache__"))
    limit = (
        "import resource, signal, numba, sys; sys.dont_write_bytecode = True\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    )
    result = run_with_numba(limit + cached[1], folder)
    assert result.stdout == "2 3 0 1\n", result.stderr
    assert result.stderr.count("numba's cache cannot be written") == 1


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
    assert result.returncode != 0 and 'pip install "occ_order[crf]"' in result.stderr
