"""Common interface of all detectors: image -> instances with class names and scores."""

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
"""uint8 (H, W, 3) RGB, file name or None -> masks in a form of `occ_order.formats.given`."""


@dataclass(frozen=True)
class Detector:
    """Instance detector; call it with an image.

    Attributes:
        find: function that runs the detector.
        about: short description: the model, its training data and its accuracy.
        score_threshold: instances with a lower score are dropped.
        class_names: names of the classes 0, 1, 2, ... returned by `find`; None = the names in its
            result, if any.
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
        """Detect the instances of an image; low scores and empty masks are dropped.

        The order networks are trained on modal masks, which are disjoint. So duplicate detections
        are removed, a pixel in several masks is assigned to the smallest one, and an instance that
        keeps less than half of its pixels is dropped (`occ_order.masks.exclusive`). A detector that
        itself predicts modal and amodal masks is left unchanged.

        Args:
            image: uint8 (H, W, 3) RGB, or a file.
            file: file of an image that is given as an array; a detector that reads results from a
                file looks the image up by its name.

        Raises:
            ValueError: the result is not a valid set of masks of this image.
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
