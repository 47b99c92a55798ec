"""From the layers of regions to masks, levels and order in the image.

Shape shorthand: ``N`` objects, ``K`` levels, ``S`` side of a region's map, ``H, W`` image size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from torch.nn import functional as F

from occ_order.methods.common.pair_matrix import PairMatrix
from occ_order.targets import order_from_levels, sem_dist

_PIXELS_AT_ONCE = 1 << 16  # so that overlaps of many large masks need little memory


class PastedLayers(NamedTuple):
    """The layers of N objects in the image."""

    confidence: torch.Tensor
    """float32 (N, H, W), C: probability that the object is there; 0 outside its box."""
    levels: torch.Tensor
    """int8 (N, H, W) in 0..K-1: behind how many objects it is, given that it is there."""


def paste_layers(
    prob: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int], *, threshold: float = 0.5
) -> PastedLayers:
    """Paste the nested probabilities of regions into the image, then decide levels there.

    Probabilities are what can be interpolated: between level 2 and the background, an interpolated
    sem-dist map would pass through levels that are not there.

    The level of a pixel is the number of l with ``prob[l] <= c``. Where even ``C = prob[K - 1]`` is
    at most c, so that the object probably is not there, c * C takes the place of c: its level if it
    were. Regional order (Eq. 5) looks at such pixels too.

    Args:
        prob: float (N, K, S, S), probability of "there, at level l or nearer".
        boxes: float (N, 4), x0 y0 x1 y1 in pixels of the image.
        size: (H, W).
        threshold: c.

    Returns:
        `PastedLayers`, on the device of `prob`.
    """
    height, width = size
    confidence = torch.zeros((len(prob), height, width), device=prob.device)
    levels = torch.zeros((len(prob), height, width), dtype=torch.int8, device=prob.device)
    for k, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        # One pixel more, as interpolation reaches half a cell over the border.
        rows = slice(max(int(y0) - 1, 0), min(int(np.ceil(y1)) + 1, height))
        columns = slice(max(int(x0) - 1, 0), min(int(np.ceil(x1)) + 1, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        y = _grid(rows, y0, y1, prob.device)
        x = _grid(columns, x0, x1, prob.device)
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        here = F.grid_sample(prob[k : k + 1].float(), grid[None], align_corners=False)[0]
        cut = torch.where(here[-1] > threshold, threshold, threshold * here[-1])
        confidence[k, rows, columns] = here[-1]
        behind = (here <= cut).sum(dim=0).clamp(max=prob.shape[1] - 1)
        levels[k, rows, columns] = behind.to(torch.int8)
    return PastedLayers(confidence, levels)


def _grid(pixels: slice, low: float, high: float, device: torch.device) -> torch.Tensor:
    """Centres of pixels in the coordinates of `grid_sample`: -1 at `low`, 1 at `high`."""
    centres = torch.arange(pixels.start, pixels.stop, device=device, dtype=torch.float32) + 0.5
    return (centres - low) / max(high - low, 1e-6) * 2 - 1


def same_level_iou(levels: torch.Tensor) -> torch.Tensor:
    """Compute the IoU of the level maps of all pairs of predictions.

    Objects that cover the same pixel have different levels there, by definition. So predictions
    with the same level at many pixels are duplicates of one object, and predictions with different
    levels are one object behind another, however much their boxes or amodal masks overlap. Levels
    that a network does not distinguish (a two-mask head predicts "occluded" only) count as equal.

    Args:
        levels: int8 (N, H, W), -1 outside the amodal mask, 0 visible, l hidden behind l objects.

    Returns:
        float32 (N, N) in [0, 1]: pixels of the same level over pixels of either amodal mask; 0 for
        two empty masks.
    """
    flat = levels.flatten(start_dim=1)
    num_levels = int(levels.max()) + 1 if levels.numel() else 0
    size = (len(levels), len(levels))
    same, both = torch.zeros(2, *size, device=levels.device)
    for part in flat.split(_PIXELS_AT_ONCE, dim=1):
        there = (part >= 0).float()
        both += there @ there.T
        for level in range(num_levels):
            at_level = (part == level).float()
            same += at_level @ at_level.T
    area = both.diagonal()
    return same / (area[:, None] + area - both).clamp(min=1)


def level_nms(
    levels: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Suppress duplicate detections: non-maximum suppression by `same_level_iou`.

    Non-maximum suppression by the IoU of boxes also suppresses an object behind a similar one; this
    does not. Not in the paper.

    Args:
        levels: int8 (N, H, W), as of `same_level_iou`.
        scores: float (N,).
        classes: int64 (N,); predictions of different classes do not suppress each other.
        threshold: a prediction is suppressed if its `same_level_iou` with a kept prediction of
            higher score is above it.

    Returns:
        int64, indices of the kept predictions, ascending.
    """
    repeats = same_level_iou(levels) > threshold
    repeats = (repeats & (classes[:, None] == classes)).cpu().numpy()
    kept: list[int] = []
    for k in scores.argsort(descending=True, stable=True).tolist():
        if not repeats[k, kept].any():
            kept.append(k)
    return torch.as_tensor(sorted(kept), dtype=torch.int64, device=levels.device)


@torch.no_grad()
def decode_instances(
    results: Instances,
    height: int,
    width: int,
    *,
    threshold: float = 0.5,
    overlap: str = "product",
    vote: str = "component",
    nms: float = 1.0,
) -> Instances:
    """Masks, levels and order of one image's predictions, at the size of the original image.

    Args:
        results: `pred_boxes`, `pred_level_prob` (N, K, S, S) and more, in pixels of the network's
            input.
        height: H, of the original image.
        width: W.
        threshold: c.
        overlap, vote: how regional order is taken and becomes one order; see
            `occ_order.targets.regional_order` and `object_order`.
        nms: threshold of `level_nms`, which needs `scores` and `pred_classes`; 1 leaves it out.

    Returns:
        Instances of size (H, W) without those whose box is empty or that repeat others, with

        - pred_masks bool (N, H, W): amodal (whole) masks, C > c;
        - pred_confidence float16 (N, H, W): C;
        - and for K > 1, where the head knows what is hidden:
          pred_modal_masks bool (N, H, W), the visible parts;
          pred_levels int8 (N, H, W), -1 outside the amodal mask, 0 visible, l hidden behind l;
          occlusion (PairMatrix int8): 1 where the row is in front, 0 otherwise.

        `pred_level_prob` stays as it is.
    """
    results = detector_postprocess(results, height, width)
    prob = results.pred_level_prob
    pasted = paste_layers(prob, results.pred_boxes.tensor, (height, width), threshold=threshold)
    there = pasted.confidence > threshold
    levels = torch.where(there, pasted.levels, -1)
    if nms < 1:
        kept = level_nms(levels, results.scores, results.pred_classes, nms)
        results, there, levels = results[kept], there[kept], levels[kept]
        pasted = PastedLayers(*(part[kept] for part in pasted))
    results.pred_masks = there
    results.pred_confidence = pasted.confidence.half()
    if prob.shape[1] == 1:
        return results
    results.pred_levels = levels
    results.pred_modal_masks = levels == 0
    order = order_from_levels(
        pasted.levels.cpu().numpy(),
        pasted.confidence.cpu().numpy(),
        threshold=threshold,
        overlap=overlap,
        vote=vote,
    )
    results.occlusion = PairMatrix(torch.from_numpy(order).to(prob.device))
    return results


def sem_dist_maps(instances: Instances, *, eps: float = 1e-3) -> np.ndarray:
    """Sem-dist maps ``M = C - L`` (Eq. 1) of predictions, for export.

    Args:
        instances: with `pred_levels` and `pred_confidence`, from `decode_instances`.
        eps: distance that C keeps from 1.

    Returns:
        float32 (N, H, W) in [-(K - 1), 1).

    Raises:
        ValueError: the network predicts no levels.
    """
    if not instances.has("pred_levels"):
        raise ValueError("a sem-dist map needs levels, and this network predicts amodal masks only")
    levels = instances.pred_levels.cpu().numpy()
    confidence = instances.pred_confidence.float().cpu().numpy()
    return sem_dist(levels, confidence, eps=eps)
