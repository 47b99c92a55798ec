"""A detector, whatever it runs on: from an image to instances with names and scores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from occ_order.files import as_image
from occ_order.formats.given import of_image
from occ_order.instances import OrderedInstances
from occ_order.masks import exclusive

Find = Callable[[np.ndarray, "str | None"], Any]
"""uint8 (H, W, 3) RGB, and the file name of the image if it has one -> masks as `given` knows."""


@dataclass(frozen=True)
class Detector:
    """Finds instances; called with an image.

    Attributes:
        find: does the work.
        about: what it is, what it was trained on and what to expect, as a phrase.
        score_threshold: instances with a lower score are left out.
        class_names: of the classes 0, 1, 2, ... that `find` gives; None = as it says itself.
    """

    find: Find
    about: str
    score_threshold: float = 0.0
    class_names: Sequence[str] | None = None

    def __call__(
        self,
        image: np.ndarray | str | os.PathLike[str],
        *,
        file: str | os.PathLike[str] | None = None,
    ) -> OrderedInstances:
        """Return the instances whose score is high enough and that cover a pixel.

        Orders of visible parts are learned from masks that share no pixel. So duplicates are
        dropped, a pixel that several claim goes to the smallest of them, and an instance that keeps
        less than half of its pixels is left out (`occ_order.masks.exclusive`); not where the
        detector itself tells visible parts from whole objects.

        Args:
            image: uint8 (H, W, 3) RGB, or a file.
            file: where an image that is given as an array comes from; its name tells results in a
                file which image is meant.

        Raises:
            ValueError: what was found is no masks of this image.
            OSError: a file cannot be read.
        """
        pixels = as_image(image)
        if file is None and not isinstance(image, np.ndarray):
            file = image
        said = self.find(pixels, None if file is None else Path(file).name)
        found = of_image(said, pixels if file is None else file, pixels.shape[:2])
        keep = (found.scores >= self.score_threshold) & found.modal.any((1, 2))
        if self.class_names is not None:
            found = found.replace(names=self._names(found.classes))
        found = found[keep].replace(image=pixels)
        if found.amodal is not None:
            return found
        modal = found.modal.copy()
        kept = exclusive(modal, found.scores)
        return found.replace(modal=modal)[kept]

    def _names(self, classes: np.ndarray) -> list[str]:
        known = self.class_names or ()
        return [known[k] if 0 <= k < len(known) else "" for k in classes.tolist()]
