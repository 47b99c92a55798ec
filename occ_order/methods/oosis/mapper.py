"""Dataset mapper of OOSIS: images with semantic map, oriented boundary and order labels.

Augmentation warps the image and a map of instance ids; class, boundary, orientation and order
labels are computed from the warped ids. Warping the orientation itself would mix its directions.
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
from occ_order.methods.oosis.losses import IGNORE
from occ_order.methods.oosis.truth import instance_map
from occ_order.order import relative_depth
from occ_order.targets.oriented_boundary import (
    oriented_boundary,
    semantic_map,
    unknown_contacts,
)

VOID = 65535
"""Id of pixels outside the image; its two bytes are (255, 255)."""


class WarpTransform(Transform):
    """Affine warp that fills images with the mean colour and maps of ids with 255 (a void byte).

    Detectron2's rotation fills with 0, which is the id of the background.
    """

    def __init__(self, matrix: np.ndarray, size: tuple[int, int], fill: Sequence[float]) -> None:
        """Initialise the transform.

        Args:
            matrix: (2, 3), maps pixel centres (x, y) of the input to those of the output.
            size: (height, width) of the output.
            fill: colour outside the input.
        """
        super().__init__()
        self.matrix, self.size, self.fill = np.asarray(matrix, np.float64), size, tuple(fill)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Warp an image by bilinear interpolation."""
        return self._warp(img, cv2.INTER_LINEAR, self.fill)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Warp a uint8 map by nearest-neighbour interpolation."""
        return self._warp(segmentation, cv2.INTER_NEAREST, 255)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Warp points with pixel centres at .5."""
        centres = np.asarray(coords, np.float64) - 0.5
        return centres @ self.matrix[:, :2].T + self.matrix[:, 2] + 0.5

    def _warp(self, img, interpolation, fill):
        size = self.size[::-1]
        return cv2.warpAffine(img, self.matrix, size, flags=interpolation, borderValue=fill)


class BlurTransform(NoOpTransform):
    """Gaussian blur with a kernel of 5 x 5 pixels; coordinates do not change."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Blur an image as semseg does: sigma is derived from the kernel size."""
        return cv2.GaussianBlur(img, (5, 5), 0)


class RandomScale(T.Augmentation):
    """Resize by a factor drawn uniformly from [low, high]."""

    def __init__(self, low: float, high: float) -> None:
        """Set the range of the factor."""
        super().__init__()
        self.low, self.high = low, high

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the factor."""
        height, width = image.shape[:2]
        factor = np.random.uniform(self.low, self.high)
        new = max(1, round(height * factor)), max(1, round(width * factor))
        return T.ResizeTransform(height, width, *new)


class RandomTurn(T.Augmentation):
    """Rotate half of the images around the centre by up to ``degrees``; the size is kept."""

    def __init__(self, degrees: float, fill: Sequence[float]) -> None:
        """Set the maximum angle and the colour outside the image."""
        super().__init__()
        self.degrees, self.fill = degrees, fill

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw whether to rotate, and the angle."""
        if self.degrees == 0 or np.random.uniform() >= 0.5:
            return NoOpTransform()
        height, width = image.shape[:2]
        angle = np.random.uniform(-self.degrees, self.degrees)
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
        return WarpTransform(matrix, (height, width), self.fill)


class RandomBlur(T.Augmentation):
    """Apply `BlurTransform` with a probability."""

    def __init__(self, prob: float) -> None:
        """Set the probability."""
        super().__init__()
        self.prob = prob

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw whether to blur."""
        return BlurTransform() if np.random.uniform() < self.prob else NoOpTransform()


class RandomWindow(T.Augmentation):
    """Crop a random window of a fixed size; smaller images are padded on the right and bottom."""

    def __init__(self, size: int, fill: Sequence[float]) -> None:
        """Set the side of the window and the padding colour."""
        super().__init__()
        self.size, self.fill = size, fill

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the window."""
        y, x = (np.random.randint(max(side - self.size, 0) + 1) for side in image.shape[:2])
        matrix = np.array([[1, 0, -x], [0, 1, -y]], np.float64)
        return WarpTransform(matrix, (self.size, self.size), self.fill)


@MAPPER_REGISTRY.register()
class OOSISMapper:
    """Map a record to the input of `occ_order.methods.oosis.meta_arch.OOSIS`.

    The result contains `image` uint8 (C, H, W), `height`, `width` (of the results), `image_id` and
    `file_name`. In training, or with `keep_ground_truth`, also `sem_seg` int64 (H, W), 0 =
    background, 255 = ignored; `boundary` bool (H, W); `orientation` float32 (4, H, W); and
    `order_labels` int64 (H, W), the relative depth of the instance of each pixel. Crowd regions are
    ignored. Images without instances are background. With `ignore_unknown` also `unknown` bool
    (H, W), where boundary and orientation are ignored.
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
        """Initialise the mapper.

        Args:
            is_train: compute the targets.
            augmentations: augmentations of Detectron2, applied in order.
            image_format: "RGB" or "BGR".
            num_classes: number of classes without background; 1 = all instances are of class 0.
            max_label: maximum order label; larger ones are clipped.
            use_stuff: treat stuff regions as instances instead of background.
            over_background: instances occlude the background.
            ignore_unknown: add `unknown`, the contacts of instances with unknown occlusion.
            fill_gaps: see `instance_map`.
            keep_ground_truth: also compute the targets at test time.
            output_size: height and width of the network's results; empty = those of the record.
        """
        self.output_size = tuple(output_size)
        self.make_targets = is_train or keep_ground_truth
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format, self.num_classes, self.max_label = image_format, num_classes, max_label
        self.use_stuff, self.over_background = use_stuff, over_background
        self.ignore_unknown, self.fill_gaps = ignore_unknown, fill_gaps

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """Read INPUT.OOSIS.* and MODEL.OOSIS.*."""
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
        """Map a record, which is not modified.

        Raises:
            ValueError: image or annotation is invalid, or their sizes differ.
        """
        result, transforms = augmented_image(
            record, self.augmentations, self.image_format, output_size=self.output_size
        )
        if self.make_targets:
            truth = instance_map(record, use_stuff=self.use_stuff, fill_gaps=self.fill_gaps)
            ids = warp_ids(truth.ids, transforms)
            result.update(self._targets(ids, truth.classes, truth.occlusion))
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
    """Build PSPNet's augmentation (supplement 4): size, scale, rotation, blur, flip, crop.

    At test time only the size is applied.
    """
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
    """Warp a map of ids with nearest-neighbour interpolation; pixels outside become void.

    The low and high bytes are warped separately, because Pillow and OpenCV round to the nearest
    pixel by the same rule for bytes, but not for wider integers.

    Args:
        ids: int (H, W), -1 = void, at most 65534.
        transforms: transforms that were applied to the image.

    Returns:
        int32 (H', W').

    Raises:
        ValueError: an id exceeds two bytes.
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
