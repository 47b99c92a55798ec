"""Images with class map and oriented boundary, both made after the augmentation (OOSIS).

What is warped is the image and one map of instance ids; class, boundary, orientation and order
labels follow from the warped ids. Warping the orientation itself would mix its directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, Transform

from occ_order.methods.common.reading import augmented_image
from occ_order.methods.common.registry import MAPPER_REGISTRY
from occ_order.methods.oosis.instance_map import instance_map
from occ_order.methods.oosis.losses import IGNORE
from occ_order.order import relative_depth
from occ_order.targets.oriented_boundary import (
    oriented_boundary,
    semantic_map,
    unknown_contacts,
)

VOID = 65535
"""Id of pixels outside the image, as the two bytes (255, 255)."""


class WarpTransform(Transform):
    """An affine warp that fills with the mean colour, and a map of ids with 255 (two bytes: void).

    Detectron2's rotation fills with 0, which for ids is the background.
    """

    def __init__(self, matrix: np.ndarray, size: tuple[int, int], fill: Sequence[float]) -> None:
        """Keep the arguments.

        Args:
            matrix: (2, 3), from pixel centres (x, y) of the input to those of the output.
            size: (height, width) of the output.
            fill: colour outside the input.
        """
        super().__init__()
        self.matrix, self.size, self.fill = np.asarray(matrix, np.float64), size, tuple(fill)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Bilinear."""
        return self._warp(img, cv2.INTER_LINEAR, self.fill)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Nearest, uint8."""
        return self._warp(segmentation, cv2.INTER_NEAREST, 255)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points in the half-open convention, where pixel centres are at .5."""
        centres = np.asarray(coords, np.float64) - 0.5
        return centres @ self.matrix[:, :2].T + self.matrix[:, 2] + 0.5

    def _warp(self, img, interpolation, fill):
        size = self.size[::-1]
        return cv2.warpAffine(img, self.matrix, size, flags=interpolation, borderValue=fill)


class BlurTransform(NoOpTransform):
    """A Gaussian blur of 5 x 5 pixels; nothing moves."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """As semseg does it: sigma follows from the size."""
        return cv2.GaussianBlur(img, (5, 5), 0)


class RandomScale(T.Augmentation):
    """Resizes by a factor drawn evenly from [low, high]."""

    def __init__(self, low: float, high: float) -> None:
        """Keep the range."""
        super().__init__()
        self.low, self.high = low, high

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the factor."""
        height, width = image.shape[:2]
        factor = np.random.uniform(self.low, self.high)
        new = max(1, round(height * factor)), max(1, round(width * factor))
        return T.ResizeTransform(height, width, *new)


class RandomTurn(T.Augmentation):
    """Rotates around the centre, in half of the images, by up to ``degrees``; same size."""

    def __init__(self, degrees: float, fill: Sequence[float]) -> None:
        """Keep the arguments."""
        super().__init__()
        self.degrees, self.fill = degrees, fill

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw whether and how far."""
        if self.degrees == 0 or np.random.uniform() >= 0.5:
            return NoOpTransform()
        height, width = image.shape[:2]
        angle = np.random.uniform(-self.degrees, self.degrees)
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
        return WarpTransform(matrix, (height, width), self.fill)


class RandomBlur(T.Augmentation):
    """`BlurTransform` with a probability."""

    def __init__(self, prob: float) -> None:
        """Keep the probability."""
        super().__init__()
        self.prob = prob

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw whether."""
        return BlurTransform() if np.random.uniform() < self.prob else NoOpTransform()


class RandomWindow(T.Augmentation):
    """A random window of a fixed size; a smaller image is filled up on the right and below."""

    def __init__(self, size: int, fill: Sequence[float]) -> None:
        """Keep the side of the window and the colour to fill with."""
        super().__init__()
        self.size, self.fill = size, fill

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the window."""
        y, x = (np.random.randint(max(side - self.size, 0) + 1) for side in image.shape[:2])
        matrix = np.array([[1, 0, -x], [0, 1, -y]], np.float64)
        return WarpTransform(matrix, (self.size, self.size), self.fill)


@MAPPER_REGISTRY.register()
class OOSISMapper:
    """Maps a record to the input of `occ_order.methods.oosis.meta_arch.OOSIS`.

    The result holds `image` uint8 (C, H, W), `height`, `width` (of the results), `image_id`,
    `file_name` and, in training or where ground truth is kept, `sem_seg` int64 (H, W) with 0 for
    the background and 255 for what is to be ignored, `boundary` bool (H, W), `orientation` float32
    (4, H, W) and `order_labels` int64 (H, W), the relative depth of each pixel's instance. Crowd
    regions are ignored. Images without instances are all background. On request there is also
    `unknown` bool (H, W), where boundary and orientation are not to be learned.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation],
        image_format: str,
        num_classes: int,
        max_label: int,
        use_stuff: bool = False,
        over_background: bool = True,
        ignore_unknown: bool = False,
        fill_gaps: int = 0,
        keep_ground_truth: bool = False,
        output_size: Sequence[int] = (),
    ) -> None:
        """Keep the arguments.

        Args:
            is_train: whether the targets are made.
            augmentations: Detectron2's, applied in order.
            image_format: "RGB" or "BGR".
            num_classes: without background; 1: every instance is of class 0, whatever it is.
            max_label: order labels above are cut off at it.
            use_stuff: whether regions marked as stuff are instances; else they are background.
            over_background: whether every instance occludes the background.
            ignore_unknown: give `unknown`, the contacts of instances of unknown occlusion.
            fill_gaps: see `instance_map`.
            keep_ground_truth: make the targets at test time as well.
            output_size: height and width of the network's results; empty = the record's.
        """
        self.output_size = tuple(output_size)
        self.make_targets = is_train or keep_ground_truth
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format, self.num_classes, self.max_label = image_format, num_classes, max_label
        self.use_stuff, self.over_background = use_stuff, over_background
        self.ignore_unknown, self.fill_gaps = ignore_unknown, fill_gaps

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """INPUT.OOSIS.* and MODEL.OOSIS.*."""
        return {
            "is_train": is_train,
            "augmentations": build_oosis_augmentation(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "num_classes": cfg.MODEL.OOSIS.NUM_CLASSES,
            "max_label": cfg.MODEL.OOSIS.ORDER_LABELS,
            "use_stuff": cfg.INPUT.OOSIS.USE_STUFF,
            "over_background": cfg.INPUT.OOSIS.OVER_BACKGROUND,
            "ignore_unknown": cfg.INPUT.OOSIS.IGNORE_UNKNOWN,
            "fill_gaps": cfg.INPUT.OOSIS.FILL_GAPS,
            "keep_ground_truth": cfg.INPUT.KEEP_GROUND_TRUTH
            or cfg.MODEL.OOSIS.MAPS == "ground_truth",
            "output_size": () if is_train else cfg.INPUT.OUTPUT_SIZE,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Map one record; the record itself stays as it is.

        Raises:
            ValueError: image or annotation is damaged or they do not fit together.
        """
        result, transforms = augmented_image(
            record, self.augmentations, self.image_format, output_size=self.output_size
        )
        if self.make_targets:
            ids, classes, occlusion = instance_map(
                record, use_stuff=self.use_stuff, fill_gaps=self.fill_gaps
            )
            result.update(self._targets(warp_ids(ids, transforms), classes, occlusion))
        return result

    def _targets(self, ids, classes, occlusion) -> dict[str, torch.Tensor]:
        if self.num_classes == 1:
            classes = np.zeros_like(classes)
        elif classes.size and classes.max() >= self.num_classes:
            raise ValueError(
                f"class {int(classes.max())} of the data set, but MODEL.OOSIS.NUM_CLASSES is "
                f"{self.num_classes}"
            )
        boundary, orientation = oriented_boundary(
            ids, occlusion, over_background=self.over_background
        )
        depth = np.minimum(relative_depth(occlusion), self.max_label)
        unknown = {}
        if self.ignore_unknown:
            unknown["unknown"] = torch.from_numpy(unknown_contacts(ids, occlusion))
        return {
            **unknown,
            "sem_seg": torch.from_numpy(semantic_map(ids, classes + 1, void_value=IGNORE)).long(),
            "boundary": torch.from_numpy(boundary),
            "orientation": torch.from_numpy(orientation),
            "order_labels": torch.from_numpy(semantic_map(ids, depth, void_value=IGNORE)).long(),
        }


def build_oosis_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """PSPNet's recipe (supplement 4): size, scale, rotation, blur, flip, crop; test: size only."""
    own, fill = cfg.INPUT.OOSIS, [float(value) for value in cfg.MODEL.PIXEL_MEAN]
    steps: list[T.Augmentation] = []
    if len(own.SIZE) == 1:
        steps.append(T.ResizeShortestEdge(own.SIZE[0]))
    elif own.SIZE:
        steps.append(T.Resize(tuple(own.SIZE)))
    if not is_train:
        return steps
    if tuple(own.SCALE) != (1.0, 1.0):
        steps.append(RandomScale(*own.SCALE))
    if own.ROTATION:
        steps.append(RandomTurn(own.ROTATION, fill))
    if own.BLUR:
        steps.append(RandomBlur(own.BLUR))
    if own.FLIP:
        steps.append(T.RandomFlip(prob=own.FLIP))
    if own.CROP_SIZE:
        steps.append(RandomWindow(own.CROP_SIZE, fill))
    return steps


def warp_ids(ids: np.ndarray, transforms: T.TransformList) -> np.ndarray:
    """Move a map of ids like the image, by nearest pixels; what comes from outside is void.

    Two planes of bytes go through the transforms: both Pillow and OpenCV take the nearest pixel of
    bytes by the same rule, but not of wider integers.

    Args:
        ids: int (H, W), -1 void, at most 65534.
        transforms: what the image went through.

    Returns:
        int32 (H', W').

    Raises:
        ValueError: an id that does not fit into two bytes.
    """
    if ids.size and ids.max() >= VOID:
        raise ValueError(f"{int(ids.max())} instances, expected fewer than {VOID}")
    planes = np.where(ids < 0, VOID, ids).astype(np.uint16)
    low, high = (
        transforms.apply_segmentation(np.ascontiguousarray(plane.astype(np.uint8)))
        for plane in (planes & 255, planes >> 8)
    )
    warped = low.astype(np.int32) + 256 * high.astype(np.int32)
    warped[warped == VOID] = -1
    return warped
