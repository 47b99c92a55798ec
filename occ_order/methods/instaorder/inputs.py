"""From an image with given instances to the input of a pairwise network (Section 5.1; M, MC, MIC).

The channels are, for an ordered pair (first, second): the mask of the first, the mask of the
second, whatever else each instance has (category embedding, a map), always first before second,
then the image. So the input of the reversed pair is a permutation of channels, and a crop is made
once.

Masks are 0 / 1. How a category is told to the network (`category_encoding`):

* "none": not at all (inputs IM, M);
* "raw": the mask has the value of the data set's category id instead of 1, neither scaled nor
  one-hot (the published MC and MIC);
* "embedding": the mask stays 0 / 1, and a learned vector of the class fills further channels inside
  the mask. The numbers of categories mean nothing here.

The image is cropped or stretched as 8-bit values, then normalised; outside it is black before the
normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode, configurable
from torch import nn

from occ_order.methods.common.given import GivenInstances
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


@dataclass
class Scene:
    """Inputs of an image that are shared by all of its pairs.

    Attributes:
        masks: uint8 (N, H, W); stretched already in mode "resize".
        maps: float32 (N, H, W) likewise, or None.
        image: float32 (3, H, W), 0 .. 255, likewise; None where the network sees masks only.
        values: float32 (N,), value of a pixel inside the mask.
        embedding: float32 (N, E), further channels inside the mask, E may be 0.
        boxes: float32 (N, 4), tight boxes in the image.
    """

    masks: torch.Tensor
    maps: torch.Tensor | None
    image: torch.Tensor | None
    values: torch.Tensor
    embedding: torch.Tensor
    boxes: torch.Tensor


class PairInputs(nn.Module):
    """Makes network inputs of the pairs of one image; see the module for the channels."""

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
        """Keep the arguments.

        Args:
            planes: out of "masks", "maps" and "image".
            mode: "crop" (a square around the pair) or "resize" (the whole image, stretched).
            size: S, side of the input.
            category_encoding: "none", "raw" or "embedding".
            category_ids: the data set's id of every contiguous class.
            embedding_dim: channels of the embedding.
            pixel_mean, pixel_std: of the image, 0 .. 255, in its order of channels.
            double_expansion: compat, at test time: crop around the expanded boxes.
            cubic_resize: compat, at test time: stretch the image by cubic instead of linear
                interpolation.

        Raises:
            ValueError: an unknown choice, or no plane of the instances.
        """
        super().__init__()
        unknown = set(planes) - set(PLANES)
        if unknown or not set(planes) & {"masks", "maps"}:
            raise ValueError(f"inputs must be out of {PLANES}, not only 'image', got {planes!r}")
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
        """MODEL.PAIRWISE.*, MODEL.PIXEL_MEAN, MODEL.PIXEL_STD."""
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
        """Channels that each of the two instances has."""
        embedding = self.embedding.embedding_dim if self.category_encoding == "embedding" else 0
        return ("masks" in self.planes) + embedding + ("maps" in self.planes)

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return 2 * self.channels_per_instance + (3 if "image" in self.planes else 0)

    def scene(self, image: torch.Tensor | None, given: GivenInstances) -> Scene:
        """Prepare one image.

        Args:
            image: (3, H, W), 0 .. 255; None if the network sees masks only.
            given: N instances.

        Raises:
            ValueError: a class that has no category id.
        """
        masks, maps = given.masks.to(torch.uint8), given.maps
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
        values, embedding = self._encode(given.classes)
        return Scene(masks, maps, image, values, embedding, boxes)

    def _encode(self, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float (N,) values of the masks, float (N, E) embeddings."""
        ones = torch.ones(len(classes), device=classes.device)
        none = ones.new_zeros((len(classes), 0))
        if self.category_encoding == "none":
            return ones, none
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < len(
            self.category_ids
        ):
            raise ValueError(
                f"classes must be 0 .. {len(self.category_ids) - 1} (MODEL.PAIRWISE.NUM_CLASSES or "
                f"CATEGORY_IDS), got {classes.tolist()}"
            )
        if self.category_encoding == "raw":
            return self.category_ids[classes], none
        return ones, self.embedding(classes)

    def forward(
        self,
        scene: Scene,
        pairs: torch.Tensor,
        *,
        jitter: torch.Tensor | None = None,
        reversed_too: bool = True,
    ) -> torch.Tensor:
        """Return inputs of pairs, in both directions unless told otherwise.

        Args:
            scene: from `scene`.
            pairs: int64 (P, 2).
            jitter: float (P, 3) of `crops.pair_squares`; only for mode "crop".
            reversed_too: False leaves the second half of the rows out.

        Returns:
            float32 (2 P, channels, S, S): row ``P + k`` is pair k reversed.
        """
        squares = None
        if self.mode == "crop":
            expand = self.double_expansion and not self.training
            squares = pair_squares(scene.boxes, pairs, jitter=jitter, expand_first=expand)
        sides = [self._planes(scene, pairs[:, k], squares) for k in (0, 1)]
        # (P, K, 2, S, S) -> first, second of every plane in turn
        both = torch.stack(sides, dim=2).flatten(1, 2)
        rest = [] if scene.image is None else [self._image(scene, squares, len(pairs))]
        swapped = torch.stack(sides[::-1], dim=2).flatten(1, 2)
        halves = (both, swapped) if reversed_too else (both,)
        return torch.cat([torch.cat([first, *rest], dim=1) for first in halves])

    def _planes(
        self, scene: Scene, index: torch.Tensor, squares: torch.Tensor | None
    ) -> torch.Tensor:
        """float32 (P, K, S, S) of one side of the pairs."""
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
        """float32 (P, 3, S, S), normalised."""
        assert scene.image is not None
        if squares is None:
            pixels = scene.image[None].expand(count, -1, -1, -1)
        else:
            pixels = _as_8_bit(crop_images(scene.image, squares, self.size))
        return (pixels - self.pixel_mean) / self.pixel_std


def _column(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _as_8_bit(image: torch.Tensor) -> torch.Tensor:
    """Whole values 0 .. 255: cubic interpolation overshoots, and images are stored like this."""
    return image.round().clamp(0, 255)
