"""The only file that imports numba: ``kernel`` compiles a function, or leaves it as it is."""

from __future__ import annotations

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
            return njit(cache=True, nogil=True)(function)
        except RuntimeError:  # no folder for the cache: compile anew in every process
            return njit(nogil=True)(function)
