"""The training data loader: the same images with the same augmentation, interrupted or not.

Each sample has a position in an endless shuffled stream. The stream follows from one seed, and the
generators are seeded from (seed, process, position) while a sample is made. So the loader's whole
state is the seed and the number of batches taken, for any number of worker processes.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetFromList, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.samplers import (
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from occ_order.engine.checkpoint import seeded
from occ_order.files import UnreadableImageError

logger = logging.getLogger(__name__)

UNREADABLE = (UnreadableImageError, OSError)
"""What an image raises that is damaged or missing."""

SKIPPED = "skipped_images"
"""Key of a sample that lists the images that could not be read before it."""

MAX_SKIPPED = 100  # of one sample; then it is not a few damaged images but a wrong folder


class Samples(Dataset):
    """Images as the network takes them, by (position, index).

    Args:
        records: Detectron2's dicts.
        mapper: makes a sample of a record; None skips the record.
        seed: non-negative seed of the stream.
        skip_unreadable: take another image where an image cannot be read, instead of an error.
    """

    def __init__(
        self,
        records: list[dict[str, Any]],
        mapper: Callable[[dict[str, Any]], Any],
        seed: int,
        *,
        skip_unreadable: bool = False,
    ) -> None:
        self._records = DatasetFromList(records, copy=False)
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
    """Which images make up the batches: endless lists of (position, index).

    Args:
        sampler: endless indices; walked again from its start by every iteration.
        batch_size: images of one batch in this process.
        landscape: bool (num images), to put only wide or only tall images into one batch; optional.
        start: number of batches to pass over.
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
    """Endless batches for training, each a list of samples, that can go on where it stopped.

    Args:
        records: Detectron2's dicts.
        mapper: makes a sample of a record.
        batch_size: images of a batch, over all processes.
        seed: non-negative, the same in all processes.
        make_sampler: seed -> endless sampler; by default all images, shuffled anew each time round.
        num_workers: processes that make samples; the samples do not depend on it.
        aspect_ratio_grouping: put only wide or only tall images into one batch.
        skip_unreadable: count and log images that cannot be read, instead of an error.

    Attributes:
        batches: how many batches were taken since the start of the training.
        skipped: how many images could not be read in this process.

    Raises:
        ValueError: the batch cannot be divided among the processes, or there are no images.
    """

    def __init__(
        self,
        records: list[dict[str, Any]],
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
        if not records:
            raise ValueError("there are no images to train on")
        if batch_size < 1 or batch_size % processes:
            raise ValueError(
                f"batch size {batch_size} cannot be divided among {processes} processes"
            )
        self._records, self._mapper = records, mapper
        self._total_batch, self._batch = batch_size, batch_size // processes
        self._make_sampler = make_sampler or (lambda s: TrainingSampler(len(records), seed=s))
        self._num_workers = num_workers
        self._skip_unreadable = skip_unreadable
        self._landscape = None
        if aspect_ratio_grouping:
            self._landscape = np.array([r["width"] > r["height"] for r in records])
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
            # Of its own: the default one would take a number from the global generator.
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
        """Return the seed and how far the training has come."""
        return {
            "seed": self._seed,
            "batches": self.batches,
            "batch_size": self._total_batch,
            "num_images": len(self._records),
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where another loader stopped; takes effect at the next ``iter()``.

        With another batch size, it goes on after about as many images. With another number of
        images the order is a new one. Both are logged.
        """
        self._seed = state["seed"]
        self.batches = state["batches"] * state["batch_size"] // self._total_batch
        for key, ours in (("batch_size", self._total_batch), ("num_images", len(self._records))):
            if state[key] != ours:
                logger.warning(
                    "%s was %d and is %d: the images do not come in the order that an "
                    "uninterrupted training would have seen",
                    key,
                    state[key],
                    ours,
                )


def build_train_loader(cfg: Any, mapper: Callable[[dict[str, Any]], Any]) -> TrainLoader:
    """Return the loader that a config asks for.

    Args:
        cfg: the config; a negative ``SEED`` draws a seed that all processes share.
        mapper: makes a sample of a record.

    Raises:
        ValueError: ``DATALOADER.SAMPLER_TRAIN`` is not one of those that can be resumed, or
            ``DATASETS.TRAIN_REPEAT_FACTOR`` names a data set that is not trained on.
    """
    parts = {
        name: get_detection_dataset_dicts(
            [name], filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )
        for name in cfg.DATASETS.TRAIN
    }
    _compare_classes(list(parts))
    records = [record for part in parts.values() for record in part]
    return TrainLoader(
        records,
        mapper,
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
        make_sampler=_sampler_maker(cfg, parts),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        aspect_ratio_grouping=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        skip_unreadable=cfg.DATALOADER.SKIP_UNREADABLE,
    )


def _compare_classes(names: list[str]) -> None:
    """Log where data sets that are trained on together number their classes differently."""
    classes = {name: MetadataCatalog.get(name).get("thing_classes") for name in names}
    different = [name for name in names if classes[name] != classes[names[0]]]
    if different:
        logger.warning(
            "%s and %s have other classes, or number them otherwise: they fit together only for a "
            "network that does not tell classes apart",
            names[0],
            ", ".join(different),
        )


def _sampler_maker(cfg: Any, parts: dict[str, list[dict[str, Any]]]) -> Callable[[int], Any]:
    """Return Detectron2's sampler of the config's name, with a seed that is known.

    Args:
        cfg: the config.
        parts: name of each data set -> its records, in the order of training.
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
    """Return how often each image comes in one round: the factor of its data set, 1 by default.

    Raises:
        ValueError: a factor belongs to no data set that is trained on.
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
