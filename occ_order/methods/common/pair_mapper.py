"""Dataset mapper that samples pairs of instances for pairwise networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable

from occ_order.methods.common.instance_mapper import InstanceOrderMapper
from occ_order.methods.common.pair_samplers import NAMES, draw_jitter, sample_pairs
from occ_order.methods.common.reading import order_matrix
from occ_order.methods.common.registry import MAPPER_REGISTRY
from occ_order.order.encoding import without_bidirectional


def generator() -> np.random.Generator:
    """Return a generator seeded by NumPy's global state, which Detectron2 seeds in each worker."""
    return np.random.default_rng(np.random.randint(2**31))


@MAPPER_REGISTRY.register()
class PairMapper(InstanceOrderMapper):
    """`InstanceOrderMapper` that, in training, also samples pairs and the jitter of their crops.

    Adds `pairs`, int64 (P, 2), and `jitter`, float32 (P, 3). For an image without a suitable pair
    it returns None, and Detectron2's loader takes another image.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        sampler: str = "occlusion",
        num_pairs: int = 1,
        positive_ratio: float = 0.7,
        shift: float = 0.2,
        scale: tuple[float, float] = (0.8, 1.2),
        bidirectional: bool = True,
        **options,
    ) -> None:
        """Initialise the mapper.

        Args:
            is_train: whether to sample pairs.
            sampler, num_pairs, positive_ratio: see `occ_order.methods.common.pair_samplers`.
            shift, scale: see `occ_order.methods.common.pair_samplers.draw_jitter`.
            bidirectional: False sets mutual occlusions to unknown (-1) in training.
            options: arguments of `InstanceOrderMapper`.

        Raises:
            ValueError: an unknown sampler.
        """
        super().__init__(is_train, **options)
        if sampler not in NAMES:
            raise ValueError(f"MODEL.PAIRWISE.SAMPLER.NAME must be one of {NAMES}, got {sampler!r}")
        self.sampler, self.num_pairs, self.positive_ratio = sampler, num_pairs, positive_ratio
        self.shift, self.scale, self.bidirectional = shift, tuple(scale), bidirectional

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """Read INPUT.*, MODEL.PAIRWISE.SAMPLER.* and MODEL.PAIRWISE.BIDIRECTIONAL."""
        own = cfg.MODEL.PAIRWISE.SAMPLER
        return {
            **super().from_config(cfg, is_train),
            "sampler": own.NAME,
            "num_pairs": own.PAIRS_PER_IMAGE,
            "positive_ratio": own.POSITIVE_RATIO,
            "shift": own.SHIFT,
            "scale": own.SCALE,
            "bidirectional": cfg.MODEL.PAIRWISE.BIDIRECTIONAL,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Map one record; None if there is no pair to train on."""
        if not self.is_train:
            return self.read(record)
        if not self.bidirectional and "occlusion" in record:
            record = {**record, "occlusion": without_bidirectional(record["occlusion"])}
        rng = generator()
        # Checked before the image is decoded, to save time; cropping may still remove all pairs.
        occlusion, depth = (order_matrix(record, key) for key in ("occlusion", "depth"))
        if len(self._sample(occlusion, depth, rng)) == 0:
            return None
        result = self.read(record)
        found = result["instances"]
        pairs = self._sample(found.gt_occlusion.tensor, found.gt_depth.tensor, rng)
        if len(pairs) == 0:
            return None
        jitter = draw_jitter(len(pairs), rng, shift=self.shift, scale=self.scale)
        result["pairs"], result["jitter"] = torch.from_numpy(pairs), torch.from_numpy(jitter)
        return result

    def _sample(
        self, occlusion: torch.Tensor, depth: torch.Tensor, rng: np.random.Generator
    ) -> np.ndarray:
        return sample_pairs(
            self.sampler,
            occlusion.numpy(),
            depth.numpy(),
            rng,
            num_pairs=self.num_pairs,
            positive_ratio=self.positive_ratio,
        )
