"""Evaluator that writes predictions: order_results.json and COCO results files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from occ_order.files import write_json
from occ_order.methods.common.evaluator import EVALUATOR_REGISTRY, OrderEvaluator
from occ_order.methods.common.ordered import from_instances
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.sums import sorted_ids
from occ_order.order import io


class Collected(Scorer[dict[str, Any]]):
    """What is written to a file of predictions, which is kept for all images."""

    def empty(self) -> dict[str, Any]:
        """Return the state: image ids and entries, in any order."""
        return {"image_ids": [], "entries": []}

    def row(self, truth: dict[str, Any], prediction: Any) -> dict[str, Any]:
        """Return the id of an image, a record, and its entry, the prediction."""
        return {"image_ids": truth["image_id"], "entries": prediction}

    def add(self, row: dict[str, Any]) -> None:
        """Add the entry of an image."""
        for name, value in row.items():
            self.state[name].append(value)

    def compute(self) -> dict[str, Any]:
        """Return {"entries"}: list in the order of image ids."""
        order = sorted_ids(self.state["image_ids"])
        return {"entries": [self.state["entries"][k] for k in order]}


@EVALUATOR_REGISTRY.register()
class OrderResults(OrderEvaluator):
    """Writes `order_results.json`, `coco_instances_results.json` and, where amodal masks are
    predicted, `coco_amodal_results.json`; has no scores of its own.
    """  # noqa: D205

    def scorers(self) -> dict[str, Scorer]:
        """Return a collection of the entries of `order_results.json`."""
        return {"images": Collected()}

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: dict[str, Any]
    ) -> None:
        """Add the entry of an image, with its file name."""
        contiguous = self.metadata.get("thing_dataset_id_to_contiguous_id")
        original = {k: v for v, k in contiguous.items()} if contiguous else None
        entry = from_instances(
            output["instances"],
            image_id=record["image_id"],
            category_ids=[original[k] for k in range(len(original))] if original else None,
            file_name=os.path.basename(record["file_name"]) if record.get("file_name") else None,
        )
        scorers["images"].update(record, entry.to_dict())

    def scores(self, scorers: dict[str, Any]) -> dict[str, Any]:
        """Write the files."""
        os.makedirs(self.output_dir, exist_ok=True)
        folder, images = Path(self.output_dir), scorers["images"].compute()["entries"]
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
