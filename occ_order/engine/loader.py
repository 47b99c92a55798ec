"""Training data loader that resumes with the same images and augmentations.

Each sample has a position in an infinite shuffled stream. The stream is determined by a seed, and
the generators are seeded by (seed, process, position) for each sample. Thus the state of the loader
is the seed and the number of consumed batches, independent of the number of workers.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetFromList, MetadataCatalog
from detectron2.data.build import print_instances_class_histogram
from detectron2.data.samplers import (
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from occ_order.engine.checkpoint import seeded
from occ_order.files import UnreadableImageError
from occ_order.formats.builtin import iterate

logger = logging.getLogger(__name__)

UNREADABLE = (UnreadableImageError, OSError)
"""Errors raised for a damaged or missing image."""

SKIPPED = "skipped_images"
"""Key of a sample that lists the unreadable images skipped before it."""

BLOCK = 10_000
"""Records that are serialized together; COCO's are more than fit in memory as Python objects."""

MAX_SKIPPED = 100  # per sample; more indicate a wrong folder rather than a few damaged images


class Samples(Dataset):
    """Data set of mapped images, indexed by (position, index).

    Args:
        records: Detectron2's dicts, as a list or serialized.
        mapper: maps a record to a sample, or to None to skip it.
        seed: non-negative seed of the stream.
        skip_unreadable: replace unreadable images by others instead of raising an error.
    """

    def __init__(
        self,
        records: list[dict[str, Any]] | Dataset,
        mapper: Callable[[dict[str, Any]], Any],
        seed: int,
        *,
        skip_unreadable: bool = False,
    ) -> None:
        known = isinstance(records, Dataset)
        self._records: Any = records if known else DatasetFromList(records, copy=False)
        self._mapper = mapper
        self._seed = (seed, comm.get_rank())
        self._skip_unreadable = skip_unreadable

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        position, index = key
        skipped: list[Any] = []
        with seeded(*self._seed, position):
            for _ in range(MAX_SKIPPED):
                sample = self._make(self._records[index], skipped)
                if sample is not None:
                    return {**sample, SKIPPED: skipped} if skipped else sample
                index = random.randrange(len(self))
        raise ValueError(
            f"{MAX_SKIPPED} images in a row could not be used, among them {skipped[:3]}"
        )

    def _make(self, record: dict[str, Any], skipped: list[str]) -> Any:
        try:
            return self._mapper(record)
        except UNREADABLE as error:
            name, number = record.get("file_name"), record.get("image_id")
            message = f"image {number}: cannot read {name} ({error})"
            if not self._skip_unreadable:
                raise ValueError(message) from error
            skipped.append(message)
            return None


class Batches:
    """Infinite batches of (position, index).

    Args:
        sampler: infinite indices; restarted by every iterator.
        batch_size: images per batch in this process.
        landscape: bool (num images), to group wide and tall images into separate batches; optional.
        start: number of batches to skip.
    """

    def __init__(
        self,
        sampler: torch.utils.data.Sampler,
        batch_size: int,
        landscape: np.ndarray | None = None,
        start: int = 0,
    ) -> None:
        self._sampler = sampler
        self._batch_size = batch_size
        self._landscape = landscape
        self._start = start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        groups: tuple[list, list] = ([], [])
        number = 0
        for position, index in enumerate(self._sampler):
            kind = 0 if self._landscape is None else int(self._landscape[index])
            groups[kind].append((position, int(index)))
            if len(groups[kind]) == self._batch_size:
                batch = list(groups[kind])
                groups[kind].clear()
                number += 1
                if number > self._start:
                    yield batch


class TrainLoader:
    """Infinite training batches, each a list of samples, that can be resumed.

    Args:
        records: Detectron2's dicts, as a list or serialized.
        mapper: maps a record to a sample.
        batch_size: images per batch over all processes.
        seed: non-negative, the same in all processes.
        make_sampler: seed -> infinite sampler; by default all images, reshuffled every epoch.
        num_workers: worker processes; the samples do not depend on it.
        aspect_ratio_grouping: group wide and tall images into separate batches.
        skip_unreadable: count and log unreadable images instead of raising an error.

    Attributes:
        batches: number of batches since the start of training.
        skipped: number of images that could not be read in this process.

    Raises:
        ValueError: the batch size is not divisible by the number of processes, or no images.
    """

    def __init__(
        self,
        records: list[dict[str, Any]] | Dataset,
        mapper: Callable[[dict[str, Any]], Any],
        *,
        batch_size: int,
        seed: int,
        make_sampler: Callable[[int], torch.utils.data.Sampler] | None = None,
        num_workers: int = 0,
        aspect_ratio_grouping: bool = False,
        skip_unreadable: bool = False,
    ) -> None:
        processes = comm.get_world_size()
        number = len(records)
        if not number:
            raise ValueError("there are no images to train on")
        if batch_size < 1 or batch_size % processes:
            raise ValueError(
                f"batch size {batch_size} cannot be divided among {processes} processes"
            )
        self._records: Any = records
        self._number, self._mapper = number, mapper
        self._total_batch, self._batch = batch_size, batch_size // processes
        self._make_sampler = make_sampler or (lambda s: TrainingSampler(number, seed=s))
        self._num_workers = num_workers
        self._skip_unreadable = skip_unreadable
        self._landscape = None
        if aspect_ratio_grouping:
            with _no_garbage_collection():
                shapes = (self._records[k] for k in range(number))
                self._landscape = np.array([r["width"] > r["height"] for r in shapes])
        self._seed = seed
        self.batches = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[list[Any]]:
        samples = Samples(
            self._records, self._mapper, self._seed, skip_unreadable=self._skip_unreadable
        )
        sampler = self._make_sampler(self._seed)
        loader = DataLoader(
            samples,
            batch_sampler=Batches(sampler, self._batch, self._landscape, self.batches),
            collate_fn=list,
            num_workers=self._num_workers,
            # A separate generator: the default would draw a number from the global one.
            generator=torch.Generator().manual_seed(self._seed),
        )
        for batch in loader:
            self.batches += 1
            for sample in batch:
                self._count_skipped(sample)
            yield batch

    def _count_skipped(self, sample: Any) -> None:
        for name in sample.pop(SKIPPED, ()) if isinstance(sample, dict) else ():
            self.skipped += 1
            logger.warning("Skipped an image, the %d. one: %s", self.skipped, name)

    def state_dict(self) -> dict[str, int]:
        """Return the seed and the progress of training."""
        return {
            "seed": self._seed,
            "batches": self.batches,
            "batch_size": self._total_batch,
            "num_images": self._number,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where another loader stopped; takes effect at the next ``iter()``.

        With another batch size, continue after about the same number of images. With another number
        of images the order changes. Both are logged.
        """
        self._seed = state["seed"]
        self.batches = state["batches"] * state["batch_size"] // self._total_batch
        for key, ours in (("batch_size", self._total_batch), ("num_images", self._number)):
            if state[key] != ours:
                logger.warning(
                    "%s was %d and is %d: the order of images differs from that of an "
                    "uninterrupted training",
                    key,
                    state[key],
                    ours,
                )


def build_train_loader(cfg: Any, mapper: Callable[[dict[str, Any]], Any]) -> TrainLoader:
    """Build the training loader from a config.

    Args:
        cfg: the config; a negative ``SEED`` draws a seed that all processes share.
        mapper: maps a record to a sample.

    Raises:
        ValueError: ``DATALOADER.SAMPLER_TRAIN`` is not a resumable sampler, or
            ``DATASETS.TRAIN_REPEAT_FACTOR`` names a data set that is not in DATASETS.TRAIN.
    """
    filtered = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    parts = {name: serialized(name, filter_empty=filtered) for name in cfg.DATASETS.TRAIN}
    _compare_classes(list(parts))
    return TrainLoader(
        ConcatDataset([part for part, _ in parts.values()]),
        mapper,
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
        make_sampler=_sampler_maker(cfg, {name: counted for name, (_, counted) in parts.items()}),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        aspect_ratio_grouping=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        skip_unreadable=cfg.DATALOADER.SKIP_UNREADABLE,
    )


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Let millions of objects come and go that refer to none above them, in a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_garbage_collection()
def serialized(name: str, *, filter_empty: bool) -> tuple[Dataset, list[dict[str, Any]]]:
    """Serialize the records of a data set block by block.

    Args:
        name: a registered data set.
        filter_empty: leave out images without instances, or with crowds alone.

    Returns:
        The records; for each of them a dict with the "category_id" and "iscrowd" of its
        "annotations", which are shared, for what counts classes.

    Raises:
        ValueError: no records are left.
    """
    blocks: list[Dataset] = []
    block: list[dict[str, Any]] = []
    counted: list[dict[str, Any]] = []
    shared: dict[tuple[int, int], dict[str, int]] = {}
    left_out = 0
    for record in iterate(name):
        kinds = [(a["category_id"], a.get("iscrowd", 0)) for a in record.get("annotations", ())]
        empty = "annotations" in record and all(crowd for _, crowd in kinds)
        if empty and filter_empty:
            left_out += 1
            continue
        for kind in kinds:
            shared.setdefault(kind, {"category_id": kind[0], "iscrowd": kind[1]})
        counted.append({"annotations": [shared[kind] for kind in kinds]})
        block.append(record)
        if len(block) == BLOCK:
            blocks.append(DatasetFromList(block, copy=False))
            block = []
    if block:
        blocks.append(DatasetFromList(block, copy=False))
    if left_out:
        logger.info(
            "%s: %d images without instances left out, %d left", name, left_out, len(counted)
        )
    if not blocks:
        raise ValueError(f"data set {name!r} has no images to train on")
    classes = MetadataCatalog.get(name).get("thing_classes")
    if classes is not None and shared:
        print_instances_class_histogram(counted, classes)
    return ConcatDataset(blocks), counted


def _compare_classes(names: list[str]) -> None:
    """Log a warning if training data sets differ in their classes or in the class order."""
    classes = {name: MetadataCatalog.get(name).get("thing_classes") for name in names}
    different = [name for name in names if classes[name] != classes[names[0]]]
    if different:
        logger.warning(
            "%s and %s differ in classes or class indices: combine them only for a "
            "class-agnostic network",
            names[0],
            ", ".join(different),
        )


def _sampler_maker(cfg: Any, parts: dict[str, list[dict[str, Any]]]) -> Callable[[int], Any]:
    """Return a constructor of Detectron2's sampler of the configured name, with a known seed.

    Args:
        cfg: the config.
        parts: name of each data set -> its images, in order of training, with the classes of their
            annotations.
    """
    name = cfg.DATALOADER.SAMPLER_TRAIN
    records = [record for part in parts.values() for record in part]
    if name == "TrainingSampler":
        return lambda seed: TrainingSampler(len(records), seed=seed)
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            records, cfg.DATALOADER.REPEAT_THRESHOLD
        )
    elif name == "WeightedTrainingSampler":
        factors = _repeat_factors(cfg.DATASETS.TRAIN_REPEAT_FACTOR, parts)
    else:
        raise ValueError(
            "DATALOADER.SAMPLER_TRAIN must be TrainingSampler, WeightedTrainingSampler or "
            f"RepeatFactorTrainingSampler, got {name!r}"
        )
    return lambda seed: RepeatFactorTrainingSampler(factors, seed=seed)


def _repeat_factors(named: list, parts: dict[str, list[dict[str, Any]]]) -> torch.Tensor:
    """Return the repeat factor of each image: that of its data set, 1 by default.

    Raises:
        ValueError: a factor of a data set that is not in DATASETS.TRAIN.
    """
    chosen = dict(named)
    unknown = sorted(set(chosen) - set(parts))
    if unknown:
        raise ValueError(
            f"DATASETS.TRAIN_REPEAT_FACTOR names {unknown}, but DATASETS.TRAIN is {sorted(parts)}"
        )
    return torch.cat(
        [torch.full((len(part),), float(chosen.get(name, 1.0))) for name, part in parts.items()]
    )
