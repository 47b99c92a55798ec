"""Input of pairwise networks from an image with instances (Section 5.1; M, MC, MIC).

The channels of an ordered pair (first, second) are: mask of the first, mask of the second, further
planes of each instance (category embedding, map), always first before second, then the image. The
input of the reversed pair is thus a permutation of channels, and each crop is computed once.
Masks are 0 / 1. Encodings of the category (`category_encoding`):

* "none": no encoding (inputs IM, M);
* "raw": the mask has the value of the data set's category id instead of 1, neither scaled nor
  one-hot (the published MC and MIC);
* "embedding": the mask is 0 / 1, and a learned vector of the class fills additional channels inside
  the mask. It does not depend on the values of the category ids.

The image is cropped or resized as 8-bit values, then normalised; it is padded with black before the
normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import nn

from occ_order.methods.common.pair_crops import (
    crop_images,
    crop_masks,
    mask_boxes,
    pair_squares,
    resize_images,
    resize_masks,
)

PLANES = ("masks", "maps", "image")
MODES = ("crop", "resize")
ENCODINGS = ("none", "raw", "embedding")
HALF_UP = 2.0**-10
"""Added to pixels before rounding, see `_as_8_bit`."""


@dataclass
class Scene:
    """Inputs of an image, shared by all its pairs.

    Attributes:
        masks: uint8 (N, H, W); resized in mode "resize", as are maps and image.
        maps: float32 (N, H, W), or None.
        image: float32 (3, H, W), 0 .. 255; None if the network's input has no image.
        values: float32 (N,), value of a pixel inside the mask.
        embedding: float32 (N, E), additional channels inside the mask; E may be 0.
        boxes: float32 (N, 4), tight boxes in the image.
    """

    masks: torch.Tensor
    maps: torch.Tensor | None
    image: torch.Tensor | None
    values: torch.Tensor
    embedding: torch.Tensor
    boxes: torch.Tensor


class PairInputs(nn.Module):
    """Compute network inputs of pairs of one image; see the module for the channels."""

    @configurable
    def __init__(
        self,
        *,
        planes: Sequence[str],
        mode: str,
        size: int,
        category_encoding: str,
        category_ids: Sequence[int],
        embedding_dim: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        double_expansion: bool = False,
        cubic_resize: bool = False,
    ) -> None:
        """Initialise the module.

        Args:
            planes: some of "masks", "maps" and "image".
            mode: "crop" (a square around the pair) or "resize" (the whole image).
            size: S, side of the input.
            category_encoding: "none", "raw" or "embedding".
            category_ids: category id of each contiguous class in the data set.
            embedding_dim: channels of the embedding.
            pixel_mean, pixel_std: of the image, 0 .. 255, in its channel order.
            double_expansion: compat, at test time: crop around boxes that are already expanded.
            cubic_resize: compat, at test time: resize the image by bicubic instead of bilinear
                interpolation.

        Raises:
            ValueError: unknown option, or no plane of the instances.
        """
        super().__init__()
        unknown = set(planes) - set(PLANES)
        if unknown or not set(planes) & {"masks", "maps"}:
            raise ValueError(f"inputs must be some of {PLANES}, not only 'image', got {planes!r}")
        for name, value, choices in (
            ("mode", mode, MODES),
            ("category encoding", category_encoding, ENCODINGS),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {value!r}")
        self.planes, self.mode, self.size = tuple(planes), mode, size
        self.double_expansion, self.cubic_resize = double_expansion, cubic_resize
        self.category_encoding = category_encoding
        self.register_buffer("category_ids", torch.tensor(category_ids).float(), persistent=False)
        self.register_buffer("pixel_mean", _column(pixel_mean), persistent=False)
        self.register_buffer("pixel_std", _column(pixel_std), persistent=False)
        if category_encoding == "embedding":
            self.embedding = nn.Embedding(len(category_ids), embedding_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Read MODEL.PAIRWISE.*, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD."""
        own = cfg.MODEL.PAIRWISE
        return {
            "planes": own.INPUTS,
            "mode": own.MODE,
            "size": own.INPUT_SIZE,
            "category_encoding": own.CATEGORY_ENCODING,
            "category_ids": own.CATEGORY_IDS or list(range(1, own.NUM_CLASSES + 1)),
            "embedding_dim": own.EMBEDDING_DIM,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "double_expansion": own.COMPAT.DOUBLE_EXPANSION,
            "cubic_resize": own.COMPAT.CUBIC_RESIZE,
        }

    @property
    def channels_per_instance(self) -> int:
        """Number of channels of each instance of a pair."""
        embedding = self.embedding.embedding_dim if self.category_encoding == "embedding" else 0
        return ("masks" in self.planes) + embedding + ("maps" in self.planes)

    @property
    def channels(self) -> int:
        """Number of input channels of the network."""
        return 2 * self.channels_per_instance + (3 if "image" in self.planes else 0)

    def scene(self, image: torch.Tensor | None, found: Instances) -> Scene:
        """Prepare an image.

        Args:
            image: (3, H, W), 0 .. 255; None if the network's input has no image.
            found: N instances, see `occ_order.methods.common.input_masks`.

        Raises:
            ValueError: a class has no category id.
        """
        self._check_classes(found.pred_classes)
        maps = found.maps if found.has("maps") else None
        return self.scene_of(image, found.pred_masks, found.pred_classes, maps)

    def scene_of(
        self,
        image: torch.Tensor | None,
        masks: torch.Tensor,
        classes: torch.Tensor,
        maps: torch.Tensor | None,
    ) -> Scene:
        """Compute `scene` of tensors, without a look at values, which exporters do not support.

        Args:
            image: (3, H, W), 0 .. 255; None if the network's input has no image.
            masks: (N, H, W), nonzero = inside.
            classes: int64 (N,), contiguous.
            maps: float (N, H, W), or None.
        """
        masks = (masks != 0).to(torch.uint8)
        if "image" in self.planes:
            assert image is not None
            image = image.to(masks.device).float()
        else:
            image = None
        boxes = mask_boxes(masks)
        if self.mode == "resize":
            size = (self.size, self.size)
            masks = resize_masks(masks, size)
            cubic = self.cubic_resize and not self.training
            mode = "bicubic" if cubic else "bilinear"
            image = None if image is None else _as_8_bit(resize_images(image, size, mode=mode))
            maps = None if maps is None else resize_images(maps, size)
        values, embedding = self._encode(classes)
        return Scene(masks, maps, image, values, embedding, boxes)

    def _check_classes(self, classes: torch.Tensor) -> None:
        if self.category_encoding == "none" or not len(classes):
            return
        if not 0 <= int(classes.min()) <= int(classes.max()) < len(self.category_ids):
            raise ValueError(
                f"classes must be 0 .. {len(self.category_ids) - 1} (MODEL.PAIRWISE.NUM_CLASSES or "
                f"CATEGORY_IDS), got {classes.tolist()}"
            )

    def _encode(self, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mask values float (N,) and embeddings float (N, E)."""
        ones = torch.ones_like(classes, dtype=torch.float32)
        if self.category_encoding == "embedding":
            return ones, self.embedding(classes)
        values = self.category_ids[classes] if self.category_encoding == "raw" else ones
        return values, ones[:, None][:, :0]

    def forward(
        self,
        scene: Scene,
        pairs: torch.Tensor,
        *,
        jitter: torch.Tensor | None = None,
        reversed_too: bool = True,
    ) -> torch.Tensor:
        """Compute the inputs of pairs, by default in both directions.

        Args:
            scene: output of `scene`.
            pairs: int64 (P, 2).
            jitter: float (P, 3), see `crops.pair_squares`; only in mode "crop".
            reversed_too: False omits the second half of the rows.

        Returns:
            float32 (2 P, channels, S, S); row ``P + k`` is pair k reversed.
        """
        squares = None
        if self.mode == "crop":
            expand = self.double_expansion and not self.training
            squares = pair_squares(scene.boxes, pairs, jitter=jitter, expand_first=expand)
        sides = [self._planes(scene, pairs[:, k], squares) for k in (0, 1)]
        # (P, K, 2, S, S) -> first, second of every plane in turn
        both = torch.stack(sides, dim=2).flatten(1, 2)
        rest = [] if scene.image is None else [self._image(scene, squares, pairs.shape[0])]
        swapped = torch.stack(sides[::-1], dim=2).flatten(1, 2)
        halves = (both, swapped) if reversed_too else (both,)
        return torch.cat([torch.cat([first, *rest], dim=1) for first in halves])

    def _planes(
        self, scene: Scene, index: torch.Tensor, squares: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the planes of one side of the pairs, float32 (P, K, S, S)."""
        if squares is None:
            masks = scene.masks[index]
            maps = None if scene.maps is None else scene.maps[index]
        else:
            masks = crop_masks(scene.masks, index, squares, self.size)
            maps = None
            if scene.maps is not None:
                own = scene.maps[index][:, None]
                maps = crop_images(own, squares, self.size, mode="bilinear")[:, 0]
        inside = masks[:, None].float()
        planes = []
        if "masks" in self.planes:
            planes.append(inside * scene.values[index][:, None, None, None])
        if scene.embedding.shape[1]:
            planes.append(inside * scene.embedding[index][:, :, None, None])
        if "maps" in self.planes:
            assert maps is not None
            planes.append(maps[:, None])
        return torch.cat(planes, dim=1)

    def _image(self, scene: Scene, squares: torch.Tensor | None, count: int) -> torch.Tensor:
        """Return the normalised image of each pair, float32 (P, 3, S, S)."""
        assert scene.image is not None
        if squares is None:
            pixels = scene.image[None].expand(count, -1, -1, -1)
        else:
            pixels = _as_8_bit(crop_images(scene.image, squares, self.size))
        return (pixels - self.pixel_mean) / self.pixel_std


def _column(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _as_8_bit(image: torch.Tensor) -> torch.Tensor:
    """Round and clip to 0 .. 255: bicubic interpolation overshoots, stored images are 8-bit.

    Halves, which simple ratios of sizes often give, are rounded up, as OpenCV does, by a margin
    above the rounding error of interpolation: an exported network has the same values.
    """
    return (image + HALF_UP).round().clamp(0, 255)
