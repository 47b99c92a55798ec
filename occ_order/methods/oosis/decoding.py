"""From the maps of one image to occlusion-ordered instances: arrays in, arrays out.

The second stage of OOSIS (Section 3.2): thin the oriented boundary, solve the CRF, read the
instances off its labels. Also the paper's two alternatives to it. Nothing here needs the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter

from occ_order.crf import CRFResult, InstanceSet, instances, occludes_from_heads, solve
from occ_order.crf.expansion import expand
from occ_order.targets.edge_nms import edge_nms
from occ_order.targets.oriented_boundary import thin_directions

DECODERS = ("crf", "expansion", "classes")
NMS = ("axis", "edge")


@dataclass(frozen=True)
class Decoder:
    """How maps become instances.

    Attributes:
        decoder: "crf" (jump moves), "expansion" (one cycle of alpha-expansion, supplement 2) or
            "classes" (the most probable order label of each pixel, Section 5.1).
        nms: "axis" thins each direction along its own axis, "edge" the boundary across its ridges.
        threshold: on o = b e.
        radius: "axis" keeps a pixel only if no other within this many pixels along the axis is
            larger. 1 is plain non-maximum suppression; ripples in the network's maps then leave
            parallel lines, each of which is a layer to the CRF.
        smoothness: lambda per unordered pair of neighbours.
        occlusion: mu.
        bound: of `occ_order.crf.solve`.
        max_jumps: of `occ_order.crf.solve`.
        max_label: largest label of "expansion".
        min_area: smaller components are dropped.
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
        """Raises ValueError for a decoder or an NMS that does not exist."""
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
    ) -> tuple[np.ndarray, InstanceSet]:
        """Decodes one image.

        Args:
            semantic: float (K, H, W), class probabilities, background first.
            orientation: float (4, H, W), e.
            boundary: float (H, W), b.
            order: float (L + 1, H, W), probabilities of order labels, for "classes".

        Returns:
            Order labels int32 (H, W), and the instances with class, score, relative depth and
            occlusion.

        Raises:
            ValueError: "classes" without `order`; maps that do not fit together.
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
        """Thinned boundary probability float (H, W), and the pairs O bool (4, H, W)."""
        if self.nms == "edge":
            thin = edge_nms(np.clip(boundary, 0, 1), border=0)
            return thin, occludes_from_heads(thin, orientation, threshold=self.threshold)
        thinned = strongest_within(thin_directions(boundary * orientation), self.radius)
        certain = np.ones_like(boundary)  # b is in the product already
        occludes = occludes_from_heads(certain, np.clip(thinned, 0, 1), threshold=self.threshold)
        return thinned.sum(0), occludes

    def labels(self, background: np.ndarray, occludes: np.ndarray) -> CRFResult:
        """Order labels of low energy, by jumps or by one cycle of expansions."""
        weights: dict[str, Any] = {"smoothness": self.smoothness, "occlusion": self.occlusion}
        background = np.clip(background, 0, 1)
        if self.decoder == "expansion":
            return expand(background, occludes, max_label=self.max_label, **weights)
        return solve(background, occludes, bound=self.bound, max_jumps=self.max_jumps, **weights)


def strongest_within(oriented: np.ndarray, radius: int) -> np.ndarray:
    """Suppresses what is not the largest value within ``radius`` pixels along its own axis.

    Args:
        oriented: float (4, H, W), >= 0: left and right are compared along x, top and bottom
            along y.
        radius: at least 1; neighbours are taken to be thinned already, so that 1 changes nothing.

    Returns:
        The same with 0 where suppressed.

    Raises:
        ValueError: a radius below 1.
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
