"""Two masks in an image of 10 rows and 20 columns, which overlap, that several tests look for."""

from __future__ import annotations

import numpy as np

SIZE = (10, 20)


def box(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    """bool (H, W): rows y0 to y1 and columns x0 to x1, the ends left out, are inside."""
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


CUP, TRAY = box(2, 6, 2, 10), box(4, 9, 8, 16)
