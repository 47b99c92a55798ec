"""The only file that imports numba: ``kernel`` compiles a function, or leaves it as it is."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from pathlib import Path

try:
    from numba import njit
except ImportError:
    COMPILED = False

    def kernel(function):
        """Leave ``function`` as it is: without numba the same code runs, slowly."""
        return function

else:
    COMPILED = True

    def kernel(function):
        """Compile ``function``; keep the result for the next process where that can be written."""
        try:
            compiled = njit(cache=True, nogil=True)(function)
        except RuntimeError:  # no folder for the cache: compile anew in every process
            return njit(nogil=True)(function)
        forget_old_code(compiled.stats.cache_path)
        return compiled


@functools.cache
def forget_old_code(folder: str) -> None:
    """Delete what numba keeps in ``folder`` for this package, if a source file has changed since.

    Numba itself looks at the file of a kernel only. A kernel has functions of other files compiled
    into it, and would go on with their old code.
    """
    sources = sorted(Path(__file__).parent.glob("_*.py"))  # all kernels are in files of such names
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = Path(folder, "sources.sha256")
    # Where nothing can be written, numba has kept nothing either since the sources were put there.
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        if stamp.is_file() and stamp.read_text(encoding="ascii") == digest:
            return
        names = {path.stem for path in sources}
        for file in stamp.parent.glob("*.nb[ic]"):
            if file.name.split(".")[0] in names:
                file.unlink(missing_ok=True)
        stamp.write_text(digest, encoding="ascii")
