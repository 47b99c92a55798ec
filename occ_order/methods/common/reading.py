"""Steps shared by all dataset mappers: image, masks and order matrices of one record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.data.transforms import TransformList
from detectron2.structures import BitMasks, Boxes, Instances

from occ_order import masks
from occ_order.files import UnreadableImageError, load_image, opened
from occ_order.formats import read_depth
from occ_order.formats.checks import size_mismatch
from occ_order.methods.common.pair_matrix import PairMatrix

ORDER_KEYS = ("occlusion", "depth", "overlap", "count")
"""Matrices of a record (`occ_order.formats`); fields of Instances have the prefix `gt_`."""


def read_image(record: dict[str, Any], image_format: str) -> np.ndarray:
    """Read the image of a record (see `occ_order.files.load_image`).

    Args:
        record: with `file_name`, or with `pixels`, uint8 (H, W, 3) RGB, instead of a file.
        image_format: "RGB" or "BGR".

    Returns:
        uint8 (H, W, 3) in the channel order `image_format`.

    Raises:
        UnreadableImageError: the file is missing, is not an image or is damaged.
        ValueError: the size of the image differs from the record; an invalid `image_format`.
    """
    if image_format not in ("RGB", "BGR"):
        raise ValueError(f"the format of images must be RGB or BGR, got {image_format!r}")
    pixels = record.get("pixels")
    if pixels is None:
        pixels = _load(record)
    return pixels[..., ::-1] if image_format == "BGR" else pixels


def check_image(record: dict[str, Any]) -> None:
    """Check that the image of a record can be decoded, for mappers that read it by other code.

    Raises:
        UnreadableImageError: the file is missing, is not an image or is damaged.
    """
    try:
        with opened(record["file_name"]) as pixels:
            pixels.load()
    except (ValueError, OSError) as error:
        raise UnreadableImageError(str(error)) from error


def read_depth_map(record: dict[str, Any]) -> np.ndarray:
    """Return the measured depth of a record (see `occ_order.formats.read_depth`).

    Raises:
        UnreadableImageError: the file is missing, damaged or not a grey image of 8 or 16 bits.
    """
    try:
        return read_depth(record)
    except ValueError as error:
        raise UnreadableImageError(f"depth map {error}") from error


def _load(record: dict[str, Any]) -> np.ndarray:
    name = record["file_name"]
    try:
        pixels = load_image(name)
    except ValueError as error:
        raise UnreadableImageError(str(error)) from error
    expected = record.get("height", pixels.shape[0]), record.get("width", pixels.shape[1])
    if pixels.shape[:2] != expected:
        stated = size_mismatch(expected, pixels.shape[:2])
        raise ValueError(f"{name}: image {record.get('image_id')!r}: the annotation {stated}")
    return pixels


def augmented_image(
    record: dict[str, Any],
    augmentations: T.AugmentationList,
    image_format: str,
    *,
    output_size: Sequence[int] = (),
) -> tuple[dict[str, Any], TransformList]:
    """Read and augment the image of a record.

    Args:
        record: see `read_image`; not modified.
        augmentations: applied in order.
        image_format: "RGB" or "BGR".
        output_size: height and width of the network's results; empty = those of the record.

    Returns:
        The input dict: "image", uint8 (C, h, w), and "image_id", "file_name", "height" and "width"
        as far as the record has them; and the transforms applied to the image.

    Raises:
        ValueError, FileNotFoundError: see `read_image`.
    """
    keys = ("image_id", "file_name", "height", "width")
    pixels = T.AugInput(read_image(record, image_format))
    transforms = augmentations(pixels)
    result = {key: record[key] for key in keys if key in record}
    if len(output_size):
        result["height"], result["width"] = map(int, output_size)
    return {**result, "image": to_tensor(pixels.image)}, transforms


def read_masks(record: dict[str, Any], key: str = "segmentation") -> np.ndarray | None:
    """Decode the masks of a record's annotations.

    Args:
        record: with `height`, `width` and `annotations`, or with `masks`, bool (N, H, W), decoded
            modal masks.
        key: "segmentation" (modal) or "amodal_segmentation".

    Returns:
        bool (N, H, W); None if an annotation does not have the key.

    Raises:
        ValueError: a mask is damaged; names image and annotation.
    """
    if "masks" in record:
        return record["masks"] if key == "segmentation" else None
    annotations = record["annotations"]
    if any(key not in annotation for annotation in annotations):
        return None
    names = [
        f"image {record.get('image_id')!r}: annotation {annotation.get('id', k)!r}: {key}"
        for k, annotation in enumerate(annotations)
    ]
    stacks = [annotation[key] for annotation in annotations]
    return masks.decode_all(stacks, record["height"], record["width"], names=names)


def modal_masks(record: dict[str, Any]) -> np.ndarray:
    """Decode the modal masks of a record's annotations, bool (N, H, W).

    Raises:
        ValueError: an annotation has none, or it is damaged; names the image.
    """
    modal = read_masks(record)
    if modal is None:
        raise ValueError(f"image {record.get('image_id')!r}: an annotation has no segmentation")
    return modal


def transform_masks(
    stack: np.ndarray, transforms: TransformList, size: Sequence[int]
) -> np.ndarray:
    """Apply the transforms of an image to its masks, by nearest-neighbour interpolation.

    Args:
        stack: bool (N, H, W).
        transforms: transforms applied to the image.
        size: (h, w) of the transformed image, used if N = 0.

    Returns:
        bool (N, h, w).
    """
    if not len(stack):
        return np.zeros((0, *size), dtype=bool)
    moved = [transforms.apply_segmentation(mask.astype(np.uint8)) > 0 for mask in stack]
    return np.stack(moved)


def order_matrix(record: dict[str, Any], key: str) -> torch.Tensor:
    """Return one of the matrices `ORDER_KEYS` of a record; all -1 (unknown) if it is absent.

    Returns:
        int8 (N, N), for "count" int16.
    """
    size = len(record["annotations"])
    kind = np.int16 if key == "count" else np.int8
    matrix = record.get(key)
    if matrix is None:
        matrix = np.full((size, size), -1, kind)
        if key == "occlusion":
            np.fill_diagonal(matrix, 0)
    return torch.from_numpy(np.array(matrix, dtype=kind).reshape(size, size))


def ground_truth_instances(
    record: dict[str, Any],
    modal: np.ndarray,
    amodal: np.ndarray | None,
    *,
    boxes: str = "modal",
) -> Instances:
    """Return the ground truth of an image as Detectron2's Instances; all fields, also for N = 0.

    Args:
        record: with `annotations` and, where known, the matrices `ORDER_KEYS`.
        modal: bool (N, H, W), transformed modal masks.
        amodal: bool (N, H, W), transformed amodal masks; None if the data have none.
        boxes: "modal" or "amodal": masks that the boxes enclose.

    Returns:
        Instances with gt_boxes (XYXY, pixels), gt_classes int64, gt_masks (BitMasks, modal),
        gt_amodal_masks (BitMasks; only if `amodal` is given), and gt_occlusion, gt_depth,
        gt_overlap, gt_count (PairMatrix).

    Raises:
        ValueError: `boxes` is "amodal" without amodal masks.
    """
    outlines = modal if boxes == "modal" else amodal
    if outlines is None:
        raise ValueError(
            f"image {record.get('image_id')!r}: INPUT.BOXES is 'amodal', but the data set has no "
            "amodal masks (amodal_segmentation)"
        )
    result = Instances(tuple(modal.shape[1:]))
    corners = np.array([masks.bounding_box(mask) for mask in outlines]).reshape(-1, 4)
    result.gt_boxes = Boxes(torch.from_numpy(corners.astype(np.float32)))
    classes = [annotation["category_id"] for annotation in record["annotations"]]
    result.gt_classes = torch.tensor(classes, dtype=torch.int64)
    result.gt_masks = BitMasks(torch.from_numpy(modal))
    if amodal is not None:
        result.gt_amodal_masks = BitMasks(torch.from_numpy(amodal))
    for key in ORDER_KEYS:
        result.set(f"gt_{key}", PairMatrix(order_matrix(record, key)))
    return result


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Convert an image, uint8 (H, W, C), to a tensor, uint8 (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
