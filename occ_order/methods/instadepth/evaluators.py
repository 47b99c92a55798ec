"""Evaluators of disparity maps: instance depth order, point order, metric depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluators

from occ_order.draw.disparity import save_disparity
from occ_order.formats import read_depth, read_depth_png
from occ_order.formats.kitti_depth import kb_crop
from occ_order.masks import decode_all, overlap_areas
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.methods.common.input_masks_evaluator import GivenMaskOrder
from occ_order.methods.instadepth.losses import erode
from occ_order.metrics.depth import DepthMapScorer, DIWScorer
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.sums import ExactSums
from occ_order.metrics.whdr import DisparityOrderScorer

STATISTICS = ("mean", "median")
COLUMNS = ("distinct", "overlap", "all")


class _DisparityEvaluator(OrderEvaluator):
    """Base class: reads the disparity map of an output and optionally writes it to a file."""

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        super().__init__(cfg, dataset_name, output_dir)
        self.save = cfg.TEST.DISPARITY.SAVE
        self.max_depth = cfg.TEST.DISPARITY.MAX_DEPTH
        self.crop = cfg.INPUT.KB_CROP
        self.compat = cfg.TEST.DISPARITY.COMPAT or None

    def disparity(self, record: dict[str, Any], output: dict[str, Any]) -> np.ndarray:
        """Return the predicted map, float32 (H, W).

        Raises:
            ValueError: there is no disparity map, or it is not finite; names the image.
        """
        name = f"data set {self.dataset_name!r}: image {record['image_id']!r}"
        if "disparity" not in output:
            raise ValueError(f"{name}: the network returned no 'disparity'")
        disparity = output["disparity"].detach().float().cpu().numpy()
        if not np.isfinite(disparity).all():
            raise ValueError(f"{name}: the disparity is not finite")
        if self.save:
            stem = f"{record['image_id']}_{Path(record['file_name']).stem}"
            save_disparity(Path(self.output_dir, "disparity", stem), disparity)
        return disparity


@EVALUATOR_REGISTRY.register()
class DisparityOrderEvaluator(_DisparityEvaluator):
    """Evaluate the depth order of instances from disparity maps (CVPR 2022, Table 3).

    Scores: `disparity_mean` and `disparity_median` {"whdr_distinct", "whdr_overlap", "whdr_all"}
    (WHDR in percent, mean over images; `occ_order.order.disparity_order`, which ignores 5 % of the
    pixels at either end), and `disparity` {"violation"}: Equation 1 in percent, at most 50 for
    disjoint masks, mean over all distinct pairs, with masks eroded as in training.
    """

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorers of both statistics and of the violation."""
        orders = {n: DisparityOrderScorer(statistic=n, compat=self.compat) for n in STATISTICS}
        return {**orders, "violation": ViolationScorer()}

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: dict[str, Any]
    ) -> None:
        """Add the disparity map of an image.

        Raises:
            ValueError: the record has no depth order.
        """
        if "depth" not in record:
            raise ValueError(f"data set {self.dataset_name!r} has no depth order to compare with")
        disparity = self.disparity(record, output)
        segmentations = [annotation["segmentation"] for annotation in record["annotations"]]
        masks = decode_all(segmentations, record["height"], record["width"])
        truth = {"masks": masks, **{key: record[key] for key in ("depth", "overlap", "count")}}
        for scorer in scorers.values():
            scorer.update(truth, disparity)

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Compute means over images, and over pairs for the violation."""
        scores = {}
        for name in STATISTICS:
            rates = scorers[name].compute()
            scores[f"disparity_{name}"] = {f"whdr_{cell}": rates[cell] for cell in COLUMNS}
        return {**scores, "disparity": scorers["violation"].compute()}


class ViolationScorer(Scorer[np.ndarray]):
    """Equation 1 of the distinct pairs of a data set."""

    def empty(self) -> dict[str, Any]:
        """Return the state: sum over the pairs."""
        return {"shares": ExactSums(1)}

    def row(self, truth: dict[str, Any], prediction: np.ndarray) -> np.ndarray:
        """Return the :func:`pair_violations` of an image.

        Args:
            truth: "masks" bool (N, H, W), "depth" and "overlap" (N, N).
            prediction: float (H, W) disparity, larger = nearer.
        """
        return pair_violations(prediction, truth["masks"], truth["depth"], truth["overlap"])

    def add(self, row: np.ndarray) -> None:
        """Add the pairs of an image."""
        for share in row:
            self.state["shares"].add([share])

    def compute(self) -> dict[str, float]:
        """Return {"violation"}: mean over the pairs in percent, NaN without pairs."""
        return {"violation": 100.0 * float(self.state["shares"].means()[0])}


def pair_violations(
    disparity: np.ndarray, masks: np.ndarray, depth: np.ndarray, overlap: np.ndarray
) -> np.ndarray:
    """Compute Equation 1 for all pairs with distinct depth ranges, except equal ones.

    Args:
        disparity: float (H, W), larger = nearer.
        masks: bool (N, H, W), modal; eroded here.
        depth: int (N, N), 1 / 0 / 2 / -1.
        overlap: int (N, N), 1 / 0 / -1.

    Returns:
        float64 (P,), half the fraction of violating pixels, pairs i < j in row-major order.
    """
    distinct = np.triu((overlap == 0) & ((depth == 0) | (depth == 1)), 1)
    eroded = erode(torch.from_numpy(np.ascontiguousarray(masks))).numpy()
    shared = overlap_areas(eroded, eroded)
    # All pixels of an instance are compared with one extreme of the other: sorted once, they are
    # counted without looking at each pixel again for each pair.
    pixels = [np.sort(np.asarray(disparity, np.float32)[mask]) for mask in eroded]
    shares = []
    for i, j in np.argwhere(distinct):
        near, far = (pixels[i], pixels[j]) if depth[i, j] == 1 else (pixels[j], pixels[i])
        wrong = 0
        if len(near) and len(far):
            wrong = np.searchsorted(near, far[-1], "right")
            wrong += len(far) - np.searchsorted(far, near[0], "left")
        union = len(near) + len(far) - shared[i, j]
        shares.append(wrong / (2 * max(union, 1)))
    return np.array(shares, dtype=np.float64)


@EVALUATOR_REGISTRY.register()
class DIWEvaluator(_DisparityEvaluator):
    """Evaluate Depth in the Wild as in Table 4 of InstaOrder (CVPR 2022).

    Scores: `diw` {"correct", "wrong"}: number of images whose two points are ordered correctly or
    not; {"whdr"}: percentage of wrong ones.
    """

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorer."""
        return {"diw": DIWScorer()}

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: dict[str, Any]
    ) -> None:
        """Add the relation of the image's two points."""
        scorers["diw"].update(record, self.disparity(record, output))

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Return the numbers of correct and wrong relations, and the WHDR."""
        return {"diw": scorers["diw"].compute()}


@EVALUATOR_REGISTRY.register()
class KITTIDepthEvaluator(_DisparityEvaluator):
    """Evaluate depth errors against measured depth maps (CVPR 2022, Table 4): KITTI or photos.

    Scores, means over images: `kitti` after scaling to the median of the ground truth, as
    published; `kitti_aligned` after the least-squares scale and shift of the disparity; both with
    the names of `occ_order.metrics.depth.DEPTH_ERRORS`; `disparity_truth` {"correlation"} with
    1 / depth. INPUT.KB_CROP crops the ground truth to the benchmark crop, as the mapper does with
    the image.
    """

    def scorers(self) -> dict[str, Scorer]:
        """Return the scorer."""
        return {"depth": DepthMapScorer(max_depth=self.max_depth)}

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: dict[str, Any]
    ) -> None:
        """Add the errors of an image.

        Raises:
            ValueError: the disparity map differs in size from the ground truth; names the file.
        """
        disparity = self.disparity(record, output).astype(np.float64)
        measured = "depth_unit" in record  # photographs; the unit of KITTI's maps is fixed
        gt = read_depth(record) if measured else read_depth_png(record["depth_file_name"])
        gt = (kb_crop(gt) if self.crop else gt).astype(np.float64)
        if gt.shape != disparity.shape:
            raise ValueError(
                f"{record['depth_file_name']}: the depth map is {gt.shape}, the disparity "
                f"{disparity.shape}"
            )
        scorers["depth"].update(gt, disparity)

    def scores(self, scorers: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Return the means over all images with valid pixels."""
        found = scorers["depth"].compute()
        return {
            "kitti": found["median"],
            "kitti_aligned": found["aligned"],
            "disparity_truth": {"correlation": found["correlation"]},
        }


@EVALUATOR_REGISTRY.register()
def DisparityEvaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> DatasetEvaluators:
    """Return the evaluators of a data set's format, for the disparity map and the order heads.

    Raises:
        ValueError: the format has no depth annotation.
    """
    kinds = {
        "instaorder": (GivenMaskOrder, DisparityOrderEvaluator),
        "photos": (GivenMaskOrder, DisparityOrderEvaluator),
        "diw": (DIWEvaluator,),
        "kitti_depth": (KITTIDepthEvaluator,),
    }
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    if kind not in kinds:
        raise ValueError(
            f"data set {dataset_name!r} has the evaluator_type {kind!r}; disparity maps are "
            f"evaluated on {sorted(kinds)}"
        )
    return DatasetEvaluators([one(cfg, dataset_name, output_dir) for one in kinds[kind]])
