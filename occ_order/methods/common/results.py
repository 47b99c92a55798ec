"""Results on disk: order_results.json, and COCO results of modal and amodal masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from occ_order.files import write_json
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.order import io
from occ_order.order.encoding import CLOSER, EQUAL, FARTHER


def image_result(
    instances: Instances, *, image_id: int | str, category_ids: list[int] | None = None
) -> dict[str, Any]:
    """The instances of one image as `order_results.json` has them.

    Args:
        instances: pred_masks bool (N, H, W), the visible parts; optional pred_amodal_masks, the
            whole objects, or pred_modal_masks (then pred_masks are the whole objects); optional
            pred_classes, scores, ids, and the PairMatrix fields occlusion, occlusion_probability,
            depth, depth_probability (N, N, 3: closer, farther, equal).
        image_id: as in the data set.
        category_ids: the file's category id of each class; None keeps the classes as they are.

    Returns:
        The dict of `occ_order.order.io.results_image`.
    """
    height, width = instances.image_size
    masks = _array(instances.pred_masks).astype(bool).reshape(-1, height, width)
    modal = _field(instances, "pred_modal_masks", masks)
    whole = masks if instances.has("pred_modal_masks") else None
    if instances.has("pred_amodal_masks"):
        whole = _array(instances.pred_amodal_masks).astype(bool).reshape(-1, height, width)
    size = len(instances)
    classes = _field(instances, "pred_classes", np.zeros(size, int)).tolist()
    depth = _pairs(instances, "depth")
    return io.results_image(
        image_id=image_id,
        height=height,
        width=width,
        modal=modal.astype(bool).reshape(-1, height, width),
        amodal=whole,
        classes=classes if category_ids is None else [category_ids[c] for c in classes],
        scores=_field(instances, "scores", np.ones(size)).astype(float).tolist(),
        ids=_field(instances, "ids", np.arange(1, size + 1)).tolist(),
        occlusion=_pairs(instances, "occlusion"),
        occlusion_prob=_pairs(instances, "occlusion_probability"),
        depth=depth,
        depth_prob=_relation_probability(depth, _pairs(instances, "depth_probability")),
    )


def _array(value: Any) -> np.ndarray:
    tensor = getattr(value, "tensor", value)
    return tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


def _field(instances: Instances, name: str, default: np.ndarray) -> np.ndarray:
    return _array(instances.get(name)) if instances.has(name) else default


def _pairs(instances: Instances, name: str) -> np.ndarray | None:
    if not instances.has(name):
        return None
    values = _array(instances.get(name))
    return values if np.issubdtype(values.dtype, np.integer) else values.astype(np.float64)


def _relation_probability(depth: np.ndarray | None, prob: np.ndarray | None) -> np.ndarray | None:
    """(N, N): probability of the relation that was decided for each pair."""
    if depth is None or prob is None:
        return None
    channel = np.select([depth == CLOSER, depth == FARTHER, depth == EQUAL], [0, 1, 2], 0)
    return np.clip(np.take_along_axis(prob, channel[..., None], axis=2)[..., 0], 0, 1)


@EVALUATOR_REGISTRY.register()
class OrderResults(OrderEvaluator):
    """Writes `order_results.json`, `coco_instances_results.json` and, where amodal masks are
    predicted, `coco_amodal_results.json`; has no scores of its own.
    """  # noqa: D205

    def row(self, record: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
        """The image as `order_results.json` has it, with the name of its picture."""
        contiguous = self.metadata.get("thing_dataset_id_to_contiguous_id")
        original = {k: v for v, k in contiguous.items()} if contiguous else None
        image = image_result(
            output["instances"],
            image_id=record["image_id"],
            category_ids=[original[k] for k in range(len(original))] if original else None,
        )
        if record.get("file_name"):
            image["file_name"] = os.path.basename(record["file_name"])
        return image

    def scores(self, rows: dict[Any, Any]) -> dict[str, Any]:
        """Writes the files."""
        os.makedirs(self.output_dir, exist_ok=True)
        folder, images = Path(self.output_dir), list(rows.values())
        io.save_results(folder / "order_results.json", images)
        _save_coco(folder / "coco_instances_results.json", images, "segmentation")
        if any("amodal_segmentation" in i for image in images for i in image["instances"]):
            _save_coco(folder / "coco_amodal_results.json", images, "amodal_segmentation")
        return {}


def _save_coco(path: Path, images: list[dict[str, Any]], key: str) -> None:
    entries = [
        {
            "image_id": image["image_id"],
            "category_id": instance["category_id"],
            "segmentation": instance[key],
            "score": instance["score"],
        }
        for image in images
        for instance in image["instances"]
    ]
    write_json(path, entries)
