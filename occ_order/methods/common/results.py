"""Evaluator that writes predictions: order_results.json and COCO results files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from occ_order.files import write_json
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.methods.common.ordered import from_instances
from occ_order.order import io


@EVALUATOR_REGISTRY.register()
class OrderResults(OrderEvaluator):
    """Writes `order_results.json`, `coco_instances_results.json` and, where amodal masks are
    predicted, `coco_amodal_results.json`; has no scores of its own.
    """  # noqa: D205

    def row(self, record: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
        """Return the entry of an image in `order_results.json`, with its file name."""
        contiguous = self.metadata.get("thing_dataset_id_to_contiguous_id")
        original = {k: v for v, k in contiguous.items()} if contiguous else None
        return from_instances(
            output["instances"],
            image_id=record["image_id"],
            category_ids=[original[k] for k in range(len(original))] if original else None,
            file_name=os.path.basename(record["file_name"]) if record.get("file_name") else None,
        ).to_dict()

    def scores(self, rows: dict[Any, Any]) -> dict[str, Any]:
        """Write the files."""
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
