"""The only file that imports numba: decorators that compile a function, or leave it as it is."""

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

    allocating_kernel = step = inlined = kernel

else:
    COMPILED = True

    # Kernels that neither allocate nor return arrays need not count references to them, which the
    # compiler does at every call inside a loop. Only numba's own modules name that option, so a
    # release without it just counts.
    UNCOUNTED = {}
    with contextlib.suppress(ImportError):
        from numba.core.options import DefaultOptions

        UNCOUNTED = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}

    def allocating_kernel(function, **options):
        """Compile ``function``; keep the result for the next process where that can be written."""
        try:
            compiled = njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder for the cache: compile anew in every process
            return njit(nogil=True, **options)(function)
        forget_old_code(compiled.stats.cache_path)
        return compiled

    def kernel(function):
        """As :func:`allocating_kernel`, for a function that makes no arrays."""
        return allocating_kernel(function, **UNCOUNTED)

    # For functions that only kernels call, so that the wrappers for Python need not be compiled:
    # steps, and helpers of hot loops, where the call would cost more than the work.
    step = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **UNCOUNTED)
    inlined = njit(
        forceinline=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **UNCOUNTED
    )


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
