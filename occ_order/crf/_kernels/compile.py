"""The only file that imports numba: decorators that compile a function, or leave it as it is."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
from pathlib import Path
from typing import Any

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
        compiled._cache = GuardedCache(compiled._cache, Path(function.__code__.co_filename).stem)
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


class GuardedCache:
    """Numba's cache of one function; what is damaged, or cannot be written, is compiled anew.

    Numba takes its files for whole. Here any error of reading deletes the compiled code of the
    source file, and any error of writing (a full disk) leaves the code uncached; one warning in a
    process says so.

    Args:
        cache: numba's own.
        source: name of the source file without its ending, with which the cache's files begin.
    """

    def __init__(self, cache: Any, source: str) -> None:
        self._cache, self._source = cache, source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *args: Any) -> Any:
        """Return the compiled code; None where there is none that can be used."""
        try:
            return self._cache.load_overload(*args)
        except Exception as error:  # a damaged pickle raises nearly everything
            warn_once(self._cache.cache_path, f"cannot be read ({type(error).__name__}: {error})")
            with contextlib.suppress(OSError):
                for file in Path(self._cache.cache_path).glob(f"{self._source}.*.nb[ic]"):
                    file.unlink(missing_ok=True)
            return None

    def save_overload(self, *args: Any) -> None:
        """Keep the compiled code for other processes, if it can be written."""
        try:
            self._cache.save_overload(*args)
        except Exception as error:  # also the index, which is read once more, may be damaged
            warn_once(self._cache.cache_path, f"cannot be written ({error})")


@functools.cache
def warn_once(folder: str, what: str) -> None:
    """Log that the cache of compiled code is of no use; the same only once."""
    logging.getLogger(__name__).warning(
        "%s: numba's cache %s; the CRF is compiled anew. Delete the folder, or set NUMBA_CACHE_DIR "
        "to another one, if this comes again",
        folder,
        what,
    )


@functools.cache
def forget_old_code(folder: str) -> None:
    """Delete what numba keeps in ``folder`` for this package, if a source file has changed since.

    Numba itself looks at the file of a kernel only. A kernel has functions of other files compiled
    into it, and would go on with their old code.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))  # all kernels are in this folder
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = Path(folder, "sources.sha256")
    # Where nothing can be written, numba has kept nothing either since the sources were put there.
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        if stamp.is_file() and stamp.read_bytes() == digest.encode("ascii"):
            return
        names = {path.stem for path in sources}
        for file in stamp.parent.glob("*.nb[ic]"):
            if file.name.split(".")[0] in names:
                file.unlink(missing_ok=True)
        stamp.write_text(digest, encoding="ascii")
