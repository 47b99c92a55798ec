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
    kernel = njit(cache=True, nogil=True)
