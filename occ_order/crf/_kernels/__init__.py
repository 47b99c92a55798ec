"""Inner loops of the CRF, compiled by numba where it is installed (see :mod:`.compile`)."""
