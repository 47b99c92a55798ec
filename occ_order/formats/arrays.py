"""Masks as NumPy arrays, in memory and in files.

======================  =========================================================================
``masks.npy``           one array: masks (N, H, W) or (N, 1, H, W), one mask (H, W) of bool, or a
                        label map (H, W) of integers, 0 = background (for void see `void_of`)
``masks.npz``           such an array called "masks" (or the only one of two or more dimensions),
                        and optionally "scores", "classes" (or "labels"), "names" and "ids", of N
                        values each
======================  =========================================================================

Floats in [0, 1] are probabilities, thresholded at `CUT`; other numbers must have two values, one of
them 0. Files with pickled Python objects are rejected, since unpickling can execute code.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import masks as mask_codec
from occ_order.files import DataError, show
from occ_order.formats.checks import Report, size_mismatch
from occ_order.formats.pages import UNNAMED, Page, Tolerance
from occ_order.instances import OrderedInstances

logger = logging.getLogger(__name__)

CUT = 0.5
"""Probability above which a pixel is inside."""

VOID = (255, 65535)
"""Labels of void pixels, with 8 and 16 bits, such as the rims of objects in Pascal VOC."""

NUMBERED = 20
"""Labels that are numbers, of instances or of Pascal VOC's 20 classes, are at most so far apart."""

COLUMNS = {
    "scores": "scores",
    "classes": "classes",
    "labels": "classes",
    "names": "names",
    "ids": "ids",
}
"""Optional array of an ``.npz`` file -> attribute of `OrderedInstances`."""


def inside(values: np.ndarray, *, name: str = "masks") -> np.ndarray:
    """Convert mask values to bool of the same shape.

    Args:
        values: bool; floats in [0, 1], probabilities, thresholded at `CUT`; or numbers with two
            values, one of them 0.
        name: name of the array in error messages.

    Raises:
        ValueError: other values.
    """
    if values.dtype == bool or not values.size:
        return values.astype(bool)
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite numbers, got {values.dtype}")
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return values > CUT
    if low < 0 or not ((values == 0) | (values == high)).all():
        raise ValueError(
            f"{name}: numbers from {low} to {high} are neither probabilities nor two-valued; a "
            "label map is (H, W)"
        )
    return values > 0


def stack_of(values: np.ndarray, size: tuple[int, int], *, name: str = "masks") -> np.ndarray:
    """Convert masks (N, H, W) or (N, 1, H, W) to bool (N, H, W).

    Raises:
        ValueError: another shape or size, or values that `inside` rejects.
    """
    if values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 3 or values.shape[1:] != size:
        raise ValueError(
            f"{name} must be (N, {size[0]}, {size[1]}) as the image is, got {values.shape}"
        )
    return inside(values, name=name)


def of_label_map(values: np.ndarray, size: tuple[int, int]) -> OrderedInstances:
    """Convert a label map to instances, whose ids are its values.

    Args:
        values: integers (H, W), 0 = background.
        size: (H, W) of the image.

    Raises:
        ValueError: another dtype or size, or negative values.
    """
    if values.dtype.kind not in "iu":
        raise ValueError(
            f"a label map has whole numbers, got {values.dtype} {values.shape}; one mask of "
            "probabilities is (1, H, W)"
        )
    if values.shape != size:
        raise ValueError(f"label map: {size_mismatch(values.shape, size)}")
    known = np.unique(values)
    if known.size and known[0] < 0:
        raise ValueError(
            f"a label map has 0 where nothing is and numbers above it, got {known[0]}; add 1 to it "
            "if -1 stands for nothing"
        )
    known = known[known > 0]
    void = void_of(known)
    if void is not None:
        logger.warning("label map: the value %d is void, no instance", void)
        known = known[known != void]
    stack = np.zeros((len(known), *size), bool)
    for k, label in enumerate(known):
        stack[k] = values == label
    return OrderedInstances(UNNAMED, size, stack, ids=tuple(known.tolist()))


def void_of(labels: np.ndarray) -> int | None:
    """Return the label of void pixels, which belong to no instance; None if there is none.

    It is the largest label, if that is 255 or 65535, there are others, and these are numbers, not
    grey levels chosen by hand: below 255, some are at most `NUMBERED` apart (0 included).

    Args:
        labels: integers (N,), sorted, each once, without 0.
    """
    if len(labels) < 2 or labels[-1] not in VOID or labels[-2] == labels[-1] - 1:
        return None
    steps = np.diff(labels[:-1].astype(np.int64), prepend=0)
    return int(labels[-1]) if labels[-1] > 255 or steps.min() <= NUMBERED else None


def of_array(values: np.ndarray, size: tuple[int, int]) -> OrderedInstances:
    """Convert an array to instances.

    Args:
        values: masks (N, H, W) or (N, 1, H, W); bool (H, W) one mask; integers (H, W) a label map.
        size: (H, W) of the image.

    Raises:
        ValueError: as `stack_of` and `of_label_map`.
    """
    if values.ndim == 2 and values.dtype != bool:
        return of_label_map(values, size)
    stack = values[None] if values.ndim == 2 else values
    return OrderedInstances(UNNAMED, size, stack_of(stack, size))


# --- files -------------------------------------------------------------------------------


def npy_page(path: Path, data: None = None) -> list[Page]:
    """Return the masks of a ``.npy`` file as a page."""

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        with Report(path).at():
            result = of_array(_loaded(path), size)
        return result

    return [Page("", read)]


def npz_page(path: Path, data: None = None) -> list[Page]:
    """Return the masks of a ``.npz`` file as a page."""

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        found = _loaded(path)
        if not isinstance(found, Mapping):
            raise DataError(f"{path}: holds one array, as a .npy file does; name it so")
        with Report(path).at():
            result = _of_arrays(found, size)
        return result

    return [Page("", read)]


def _of_arrays(found: Mapping[str, np.ndarray], size: tuple[int, int]) -> OrderedInstances:
    large = [key for key, values in found.items() if values.ndim > 1]
    key = "masks" if "masks" in found else large[0] if len(large) == 1 else None
    if key is None:
        raise ValueError(f"needs an array 'masks', its arrays are {show(sorted(found))}")
    instances = of_array(found[key], size)
    columns = {COLUMNS[name]: values for name, values in found.items() if name in COLUMNS}
    for name, values in columns.items():
        if values.shape != (len(instances),):
            raise ValueError(f"{name!r} must be ({len(instances)},), got {values.shape}")
        if values.dtype.kind not in {"scores": "iuf", "classes": "iu"}.get(name, "iuU"):
            raise ValueError(f"{name!r} cannot be of the type {values.dtype}")
    scores = columns.get("scores", np.zeros(0))
    if not np.isfinite(scores).all():
        raise ValueError("'scores' must be finite")
    known = {name: columns[name].tolist() for name in ("names", "ids") if name in columns}
    numbers = {name: columns[name] for name in ("scores", "classes") if name in columns}
    return instances.replace(**known, **numbers)


def _loaded(path: Path) -> Any:
    """Load the array of a ``.npy`` file, or the arrays of a ``.npz`` file by name.

    Raises:
        ValueError: the file is damaged, too large, or has Python objects; names the file.
        OSError: the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                return _checked(np.load(path, mmap_mode="r", allow_pickle=False))
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > mask_codec.MAX_STACK:
            raise ValueError(f"its arrays take {total / 2**30:.1f} GiB, more than the limit of 4")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged archives and headers raise many types of exceptions
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: not a readable file of NumPy arrays: {reason}") from None


def _checked(values: np.ndarray) -> np.ndarray:
    if values.nbytes > mask_codec.MAX_STACK:
        raise ValueError(
            f"its array takes {values.nbytes / 2**30:.1f} GiB, more than the limit of 4"
        )
    return np.array(values)
