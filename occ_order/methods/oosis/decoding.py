"""Decode the maps of the network into occlusion-ordered instances, in NumPy.

The second stage of OOSIS (Section 3.2): non-maximum suppression of the oriented boundary, CRF
inference, and connected components of the labels as instances. Also implements the paper's two
alternatives to jump moves.

Shapes: H x W pixels, K classes with background, order labels 0..L. The four direction channels are
left, right, top, bottom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter

from occ_order.crf import CRFResult, InstanceMap, instances, occludes_from_heads, solve
from occ_order.crf.expansion import expand
from occ_order.targets.edge_nms import edge_nms
from occ_order.targets.oriented_boundary import thin_directions

DECODERS = ("crf", "expansion", "classes")
NMS = ("axis", "edge")


@dataclass(frozen=True)
class Decoder:
    """Decoder of the maps of one image.

    Attributes:
        decoder: "crf" (jump moves), "expansion" (one cycle of alpha-expansion, supplement 2) or
            "classes" (the most probable order label of each pixel, Section 5.1).
        nms: non-maximum suppression: "axis" thins each direction channel along its own axis, "edge"
            the boundary probability across its ridges.
        threshold: minimum of o = b e (boundary probability times orientation) for an occlusion.
        radius: for "axis", a pixel is suppressed if a pixel within this distance along the axis has
            a larger value. Standard non-maximum suppression (1) leaves parallel lines at a boundary
            with several local maxima, each of which separates another order label in the CRF.
        smoothness: lambda, weight per unordered pair of 4-neighbours.
        occlusion: mu, weight of the occlusion term.
        bound: "constant", "modular" or "alternate", see `occ_order.crf.solve`.
        max_jumps: maximum number of jump moves, see `occ_order.crf.solve`.
        max_label: maximum order label of "expansion".
        min_area: minimum size of a component in pixels; smaller ones are removed.

    Raises:
        ValueError: unknown `decoder` or `nms`.
    """

    decoder: str = "crf"
    nms: str = "axis"
    threshold: float = 0.1
    radius: int = 1
    smoothness: float = 40.0
    occlusion: float = 100.0
    bound: str = "alternate"
    max_jumps: int = 64
    max_label: int = 7
    min_area: int = 20

    def __post_init__(self) -> None:
        """Validate `decoder` and `nms`."""
        for name, value, known in (
            ("decoder", self.decoder, DECODERS),
            ("nms", self.nms, NMS),
        ):
            if value not in known:
                raise ValueError(f"{name}: got {value!r}, expected one of {known}")

    def __call__(
        self,
        semantic: np.ndarray,
        orientation: np.ndarray,
        boundary: np.ndarray,
        order: np.ndarray | None = None,
    ) -> tuple[np.ndarray, InstanceMap]:
        """Decode one image.

        Args:
            semantic: float (K, H, W), class probabilities, background first.
            orientation: float (4, H, W), e, probability that the pixel occludes its neighbour in
                each direction, given a boundary.
            boundary: float (H, W), b, boundary probability.
            order: float (L + 1, H, W), probabilities of order labels 0..L; only for "classes".

        Returns:
            Order labels int32 (H, W), 0 = background, larger = nearer; and the instances with
            class, score, relative depth and occlusion matrix.

        Raises:
            ValueError: decoder "classes" without `order`, or maps of different sizes.
        """
        thin, occludes = self.oriented(boundary, orientation)
        if self.decoder == "classes":
            if order is None:
                raise ValueError("decoder 'classes' needs the network's order labels")
            labels = order.argmax(0).astype(np.int32)
        else:
            labels = self.labels(semantic[0], occludes).labels
        found = instances(labels, class_prob=semantic, boundary_prob=thin, min_area=self.min_area)
        return labels, found

    def oriented(
        self, boundary: np.ndarray, orientation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Suppress non-maxima of the oriented boundary and apply the threshold.

        Args:
            boundary: float (H, W), b.
            orientation: float (4, H, W), e.

        Returns:
            Boundary probability after suppression, float (H, W), and the set O of ordered pairs,
            bool (4, H, W): the pixel occludes its neighbour in that direction.
        """
        if self.nms == "edge":
            thin = edge_nms(np.clip(boundary, 0, 1), border=0)
            return thin, occludes_from_heads(thin, orientation, threshold=self.threshold)
        thinned = strongest_within(thin_directions(boundary * orientation), self.radius)
        certain = np.ones_like(boundary)  # the suppressed map is already o = b e
        occludes = occludes_from_heads(certain, np.clip(thinned, 0, 1), threshold=self.threshold)
        return thinned.sum(0), occludes

    def labels(self, background: np.ndarray, occludes: np.ndarray) -> CRFResult:
        """Minimise the CRF energy approximately by jump moves or one cycle of alpha-expansion.

        Args:
            background: float (H, W), background probability.
            occludes: bool (4, H, W), the set O of ordered pairs.
        """
        weights: dict[str, Any] = {"smoothness": self.smoothness, "occlusion": self.occlusion}
        background = np.clip(background, 0, 1)
        if self.decoder == "expansion":
            return expand(background, occludes, max_label=self.max_label, **weights)
        return solve(background, occludes, bound=self.bound, max_jumps=self.max_jumps, **weights)


def strongest_within(oriented: np.ndarray, radius: int) -> np.ndarray:
    """Suppress values that are not the maximum within ``radius`` pixels along their axis.

    Args:
        oriented: float (4, H, W), >= 0: left and right are compared along x, top and bottom
            along y.
        radius: in pixels, at least 1. 1 returns the input: direct neighbours must be suppressed
            already.

    Returns:
        float (4, H, W), the input with suppressed values set to 0.

    Raises:
        ValueError: ``radius`` below 1.
    """
    if radius < 1:
        raise ValueError(f"radius: got {radius}, expected 1 or more")
    if radius == 1:
        return oriented
    kept = oriented.copy()
    size = 2 * radius + 1
    for pair, window in ((slice(0, 2), (1, 1, size)), (slice(2, 4), (1, size, 1))):
        largest = maximum_filter(oriented[pair], size=window, mode="constant")
        kept[pair][oriented[pair] < largest] = 0
    return kept
