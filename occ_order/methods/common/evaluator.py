"""Base class of the evaluators: ground truth from the catalog, results from several processes."""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from fvcore.common.registry import Registry

from occ_order.metrics.scorer import Scorer

EVALUATOR_REGISTRY = Registry("EVALUATOR")
EVALUATOR_REGISTRY.__doc__ = (
    "Evaluators, called with `(cfg, dataset_name, output_dir)`; named by TEST.EVALUATORS."
)


class _Records(dict[Any, dict[str, Any]]):
    """Records by image id; unlike a plain dict it can be referenced weakly."""


_SHARED: weakref.WeakValueDictionary[tuple[str, Callable | None], _Records] = (
    weakref.WeakValueDictionary()
)
"""Records of each data set by its name and the function that reads it, while an evaluator holds
them: reading decodes every mask of some formats, which takes longer than the scores."""


class OrderEvaluator(DatasetEvaluator):
    """Adds the images to scorers, and merges the scorers of all processes at the end.

    A subclass implements `scorers`, `update` and `scores`. What is kept of an image is its id and
    its part of the scorers' states, so it must not be processed twice, by one process or by two.
    `evaluate` can be called repeatedly.

    Attributes:
        needs: required keys of a ground-truth record (class attribute).
        dataset_name: registered name of the data set.
        metadata: its metadata.
        output_dir: folder for files; it may not exist yet.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, cfg: CfgNode, dataset_name: str, output_dir: str) -> None:
        """Initialise the evaluator; `cfg` is used by subclasses."""
        self.dataset_name = dataset_name
        self.metadata = MetadataCatalog.get(dataset_name)
        self.output_dir = output_dir
        self.reset()

    @functools.cached_property
    def records(self) -> dict[Any, dict[str, Any]]:
        """Ground-truth records by image id (`occ_order.formats`); never the model's input.

        All evaluators of a data set share them and must not change them.

        Raises:
            ValueError: two records share an image id.
        """
        key = (self.dataset_name, DatasetCatalog.data.get(self.dataset_name))
        if key in _SHARED:
            return _SHARED[key]
        records = DatasetCatalog.get(self.dataset_name)
        found = _Records((record["image_id"], record) for record in records)
        if len(found) != len(records):
            raise ValueError(
                f"data set {self.dataset_name!r}: {len(records)} records have only {len(found)} "
                "different image ids"
            )
        if key[1] is not None:  # else it comes from elsewhere, and may be another one next time
            _SHARED[key] = found
        return found

    def scorers(self) -> dict[str, Scorer]:
        """Return new scorers by name, without images."""
        raise NotImplementedError(f"{type(self).__name__} has no scorers()")

    def update(
        self, scorers: dict[str, Any], record: dict[str, Any], output: dict[str, Any]
    ) -> None:
        """Add an image to the scorers.

        Args:
            scorers: as of `scorers`.
            record: ground truth, from `records`.
            output: the model's output for the image.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update()")

    def scores(self, scorers: dict[str, Any]) -> Mapping[str, Mapping[str, float]]:
        """Compute the scores from scorers with all images.

        Returns:
            {task: {metric: float}}: the same keys for any data, NaN where undefined.
        """
        raise NotImplementedError(f"{type(self).__name__} has no scores()")

    def reset(self) -> None:
        """Discard all images."""
        self._seen: set[Any] = set()
        self._scorers: dict[str, Scorer] | None = None

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Add a batch to the scorers.

        Raises:
            ValueError: an image is not in the data set, lacks a required key or was processed
                before; a score of an instance is not finite.
        """
        if self._scorers is None:
            self._scorers = self.scorers()
        for item, output in zip(inputs, outputs, strict=True):
            image_id = item["image_id"]
            if image_id not in self.records:
                raise ValueError(f"image {image_id!r} is not in the data set {self.dataset_name!r}")
            self._check(self.records[image_id], output)
            if image_id in self._seen:
                raise ValueError(f"image {image_id!r} was processed before: call reset()")
            self.update(self._scorers, self.records[image_id], output)
            self._seen.add(image_id)

    def _check(self, record: dict[str, Any], output: dict[str, Any]) -> None:
        for key in self.needs:
            if key not in record:
                raise ValueError(
                    f"data set {self.dataset_name!r}: image {record['image_id']!r} has no {key!r}, "
                    f"which {type(self).__name__} needs"
                )
        instances = output.get("instances")
        if isinstance(instances, Instances) and instances.has("scores"):
            scores = torch.as_tensor(instances.scores)
            if not scores.isfinite().all():
                raise ValueError(
                    f"image {record['image_id']!r}: scores of instances are not finite: "
                    f"{scores[~scores.isfinite()].tolist()[:3]}"
                )

    def evaluate(self) -> Mapping[str, Mapping[str, float]] | None:
        """Compute the scores over the images of all processes; None except in the main process.

        Raises:
            ValueError: several processes have processed the same image.
        """
        own = self._seen, self._scorers
        parts = comm.gather(own) if comm.get_world_size() > 1 else [own]
        if not comm.is_main_process():
            return None
        times = Counter(image_id for seen, _ in parts for image_id in seen)
        repeated = sorted((image_id for image_id in times if times[image_id] > 1), key=str)
        if repeated:
            raise ValueError(
                f"{len(repeated)} images were processed by several processes, such as "
                f"{repeated[:3]}: use a sampler that does not repeat images, such as Detectron2's "
                "InferenceSampler"
            )
        merged = self.scorers()
        for _, scorers in parts:
            for name, scorer in (scorers or {}).items():
                merged[name].merge(scorer)
        return self.scores(merged)
