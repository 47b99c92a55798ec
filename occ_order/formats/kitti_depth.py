"""KITTI depth: images with measured depth maps (Uhrig et al., 3DV 2017), Eigen's test split.

A list file has one line per image: `IMAGE DEPTH FOCAL`, the depth "None" where there is no
measurement (`eigen_test_files_with_gt.txt`). Depth maps are 16-bit PNG files, metres x 256, 0 = no
value.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np

from occ_order.files import (
    atomic_writer,
    join_path,
    read_grey_png,
    read_text,
    relative_name,
    save_png,
    show,
)
from occ_order.formats.checks import Report

logger = logging.getLogger(__name__)

_SCALE = 256.0  # units of the PNG files per metre

KB_CROP = (352, 1216)
"""Height and width in pixels of the benchmark crop."""


def load_kitti_depth(
    list_file: str | os.PathLike,
    root: str | os.PathLike,
    *,
    rgb_dir: str = "rawdata",
    depth_dir: str = "data_depth_annotated",
    skip_missing: bool = False,
    problems: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a list of images and their depth maps. Images without a depth map are left out.

    Args:
        list_file: text file, `IMAGE DEPTH` and anything further on each line; blank lines are
        skipped. root: folder that holds `rgb_dir` and `depth_dir`.
        rgb_dir: folder in `root` that the images are relative to.
        depth_dir: folder in `root` that the depth maps are relative to.
        skip_missing: also leave out lines whose depth map is not on disk, and log how many; the 45
            missing ones of the 697 Eigen test images are usually treated so.
        problems: None to raise at the first error; a list to collect messages in.

    Returns:
        [{"file_name": str, "depth_file_name": str}].

    Raises:
        ValueError: names the file and line of the first error.
    """
    report = Report(list_file, problems)
    lines: list[str] = []
    with report.at():
        lines = read_text(list_file).splitlines()
    result, absent = [], 0
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        with report.at(f"line {number}"):
            if len(fields) < 2:
                raise ValueError(f"must be 'IMAGE DEPTH ...', got {show(line)}")
            entry = {"file_name": join_path(os.path.join(root, rgb_dir), fields[0])}
            entry["depth_file_name"] = join_path(os.path.join(root, depth_dir), fields[1])
            missing = skip_missing and not os.path.isfile(entry["depth_file_name"])
            if fields[1] == "None" or missing:
                absent += 1
            else:
                result.append(entry)
    if absent:
        logger.info("%s: %d images without a depth map left out", list_file, absent)
    return result


def save_kitti_depth(
    entries: list[dict[str, Any]],
    list_file: str | os.PathLike,
    *,
    root: str | os.PathLike,
    rgb_dir: str = "rawdata",
    depth_dir: str = "data_depth_annotated",
    focal: float = 721.5377,
) -> None:
    """Write a list of images and depth maps.

    Args:
        entries: [{"file_name", "depth_file_name"}], files below `root/rgb_dir` and
            `root/depth_dir`; a depth_file_name of None is written as "None".
        list_file: file to write.
        root: folder that holds `rgb_dir` and `depth_dir`.
        rgb_dir: folder of the images.
        depth_dir: folder of the depth maps.
        focal: third column of each line, the focal length in pixels.

    Raises:
        ValueError: a file is not in its folder, or a name has a blank in it.
    """
    report = Report(list_file)
    with atomic_writer(list_file) as file:
        for index, entry in enumerate(entries):
            with report.at(f"entry {index}"):
                name = relative_name(entry["file_name"], os.path.join(root, rgb_dir))
                depth = entry["depth_file_name"]
                if depth is not None:
                    depth = relative_name(depth, os.path.join(root, depth_dir))
                if len(f"{name} {depth}".split()) != 2:
                    raise ValueError(f"names must not have blanks in them, got {name!r}, {depth!r}")
                file.write(f"{name} {depth} {focal:.4f}\n")


def read_depth_png(path: str | os.PathLike) -> np.ndarray:
    """Read a depth map.

    Args:
        path: 16-bit grey PNG, metres x 256.

    Returns:
        float32 (H, W) in metres, 0 = no value.

    Raises:
        ValueError: names the file; it is missing, damaged, or not a 16-bit grey image.
    """
    values = read_grey_png(path, bits=(16,))
    return (values / _SCALE).astype(np.float32)


def write_depth_png(path: str | os.PathLike, depth: np.ndarray) -> None:
    """Write a depth map as a 16-bit PNG; reading it back differs by at most 1/512 m.

    Args:
        path: file to write.
        depth: (H, W) in metres, 0 = no value. The format ends at 65535/256 = 255.996 m. A value
            above 0 that would round to 0 is written as 1/256 m, so that it stays a value.

    Raises:
        ValueError: not two-dimensional, negative, not finite or too large.
    """
    depth = np.asarray(depth, np.float64)
    if depth.ndim != 2:
        raise ValueError(f"{path}: depth must have shape (H, W), got {depth.shape}")
    if depth.size and not (np.isfinite(depth).all() and depth.min() >= 0):
        raise ValueError(f"{path}: depth must be finite and >= 0")
    units = np.maximum(np.round(depth * _SCALE), depth > 0)
    if depth.size and units.max() > 65535:
        raise ValueError(f"{path}: depth must be at most 255.996 m, got {depth.max():.3f} m")
    save_png(path, units.astype(np.uint16))


def kb_crop(image: np.ndarray) -> np.ndarray:
    """Return the KITTI benchmark crop: the bottom 352 rows, the middle 1216 columns.

    Args:
        image: (H, W) or (H, W, C).

    Returns:
        View of shape (352, 1216, ...); top row H - 352, left column (W - 1216) // 2.

    Raises:
        ValueError: the image is smaller than the crop.
    """
    height, width = KB_CROP
    if image.ndim < 2 or image.shape[0] < height or image.shape[1] < width:
        raise ValueError(f"the KITTI benchmark crop needs at least {KB_CROP}, got {image.shape}")
    top, left = image.shape[0] - height, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
