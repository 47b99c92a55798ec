"""Trainer with mapper, evaluators, optimiser and schedule chosen by the config."""

from __future__ import annotations

import json
import logging
import weakref
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, get_detection_dataset_dicts
from detectron2.engine import DefaultTrainer, HookBase, create_ddp_model, hooks
from detectron2.evaluation import DatasetEvaluators
from detectron2.projects.deeplab import build_lr_scheduler
from detectron2.solver import LRScheduler
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from detectron2.utils.logger import setup_logger
from torch import nn
from torch.utils.data import DataLoader

import occ_order.engine.detector_order
import occ_order.formats.builtin
import occ_order.methods.build
import occ_order.model_zoo.models  # noqa: F401  (all four fill Detectron2's registries)
from occ_order.config import check_settings
from occ_order.engine.checkpoint import OrderCheckpointer, kept_random_state
from occ_order.engine.draw_hook import PredictionImages
from occ_order.engine.evaluation import build_evaluator
from occ_order.engine.finite import FiniteAMPTrainer, FiniteBfloat16Trainer, FiniteTrainer
from occ_order.engine.hooks import TrainingTime
from occ_order.engine.loader import TrainLoader, build_train_loader
from occ_order.engine.resume import ResumableCheckpoints, restore
from occ_order.engine.wandb_writer import WandbWriter
from occ_order.files import atomic_writer
from occ_order.methods.build import build_mapper
from occ_order.metrics.report import without_nan

OPTIMIZERS = {"SGD": torch.optim.SGD, "ADAMW": torch.optim.AdamW}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build SOLVER.OPTIMIZER for the trainable parameters.

    Weight decay, biases, norms and gradient clipping follow Detectron2's config keys; the learning
    rate of parameters whose name starts with one of SOLVER.HEAD_NAMES is multiplied by
    SOLVER.HEAD_LR_FACTOR.

    Raises:
        ValueError: unknown optimiser.
    """
    kind = cfg.SOLVER.OPTIMIZER.upper()
    if kind not in OPTIMIZERS:
        raise ValueError(f"SOLVER.OPTIMIZER must be one of {sorted(OPTIMIZERS)}, got {kind!r}")
    heads = tuple(cfg.SOLVER.HEAD_NAMES)
    parameters = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        lr_factor_func=lambda name: (
            cfg.SOLVER.HEAD_LR_FACTOR if heads and name.startswith(heads) else 1.0
        ),
    )
    more = {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV}
    return maybe_add_gradient_clipping(cfg, OPTIMIZERS[kind])(
        parameters,
        lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        **(more if kind == "SGD" else {}),
    )


class Trainer(DefaultTrainer):
    """Detectron2's `DefaultTrainer` for every network of this package.

    INPUT.MAPPER chooses the mapper, TEST.EVALUATORS the evaluators, SOLVER.OPTIMIZER and
    SOLVER.LR_SCHEDULER_NAME (also WarmupPolyLR) the optimisation.

    A step with a non-finite loss or gradient stops the training before the weights change. A
    resumed training results in the same weights as an uninterrupted one on the same machine with
    the same numbers of processes and threads.

    Args:
        cfg: the config.
        allow_unsafe_pickle: load checkpoints with arbitrary objects. Not a config key, because
            config files may be untrusted.

    Raises:
        ValueError: a key would execute code (`occ_order.config.check_settings`).
    """

    def __init__(self, cfg: CfgNode, *, allow_unsafe_pickle: bool = False) -> None:
        check_settings(cfg)
        super(DefaultTrainer, self).__init__()  # its __init__ creates its own checkpointer
        logger = logging.getLogger("detectron2")
        if not logger.isEnabledFor(logging.INFO):
            setup_logger()
        self.cfg = cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        step = _step_runner(cfg)
        self._trainer = step(_distributed(model), self.build_train_loader(cfg), optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = OrderCheckpointer(
            self._trainer.model,
            cfg.OUTPUT_DIR,
            allow_unsafe_pickle=allow_unsafe_pickle,
            trainer=weakref.proxy(self),
        )
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the newest checkpoint in OUTPUT_DIR, or load MODEL.WEIGHTS.

        Raises:
            CheckpointError: there is a training to resume, but no loadable checkpoint.
        """
        state = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if self.checkpointer.resumed_from:
            self.start_iter = self.iter + 1
            restore(state, self.data_loader, seed=self.cfg.SEED, iteration=self.start_iter)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """See `occ_order.engine.trainer.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """Build one of Detectron2's schedules or WarmupPolyLR."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> TrainLoader:
        """Build the loader of DATASETS.TRAIN."""
        check_settings(cfg)
        return build_train_loader(cfg, build_mapper(cfg, is_train=True))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        """Build the loader of one data set, without support for Detectron2's pickled proposals."""
        check_settings(cfg)
        return build_detection_test_loader(
            dataset=get_detection_dataset_dicts(dataset_name, filter_empty=False),
            mapper=build_mapper(cfg, is_train=False),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluators:
        """See `occ_order.engine.evaluation.build_evaluator`."""
        return build_evaluator(cfg, dataset_name)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators=None) -> dict[str, Any]:
        """Evaluate on DATASETS.TEST and write the scores to `inference/scores.json`.

        Does not change the random numbers of the training that follows.

        Returns:
            {task: {metric: float}}, or {data set: {task: ...}} for several data sets.
        """
        with kept_random_state():
            results = super().test(cfg, model, evaluators)
        if comm.is_main_process():
            with atomic_writer(Path(cfg.OUTPUT_DIR, "inference", "scores.json")) as file:
                file.write(json.dumps(without_nan(results), indent=2) + "\n")
        return results

    def build_hooks(self) -> list[HookBase]:
        """Return Detectron2's hooks, with resumable checkpoints in all processes before evaluation.

        Time is measured around the iterations, without the final evaluation.
        """
        theirs = [h for h in super().build_hooks() if not isinstance(h, hooks.PeriodicCheckpointer)]
        saving = ResumableCheckpoints(self.checkpointer, self.cfg.SOLVER.CHECKPOINT_PERIOD)
        place = next(k for k, hook in enumerate(theirs) if isinstance(hook, hooks.EvalHook))
        drawing = self.cfg.VIS_PERIOD > 0 and comm.is_main_process()
        images = [PredictionImages(self.cfg)] if drawing else []
        before, after = theirs[:place], theirs[place:]
        return [TrainingTime(self.cfg.OUTPUT_DIR), *before, saving, *images, *after]

    def build_writers(self) -> list[EventWriter]:
        """Return Detectron2's writers, after that of wandb if LOGGING.WANDB_PROJECT is set."""
        wandb = [WandbWriter(self.cfg)] if self.cfg.LOGGING.WANDB_PROJECT else []
        return [*wandb, *super().build_writers()]


def _step_runner(cfg: CfgNode) -> type:
    """Return the step runner; SOLVER.AMP uses float16 on GPUs and bfloat16 on CPUs."""
    if not cfg.SOLVER.AMP.ENABLED:
        return FiniteTrainer
    return FiniteBfloat16Trainer if cfg.MODEL.DEVICE == "cpu" else FiniteAMPTrainer


def _distributed(model: nn.Module) -> nn.Module:
    """Wrap the model for distributed training; on CPUs no device may be passed.

    Unused parameters are allowed: a head that reads one level of a feature pyramid leaves the
    output convolutions of other levels without gradient.
    """
    parameter = next(model.parameters(), None)
    on_cpu = parameter is None or parameter.device.type == "cpu"
    options = {"broadcast_buffers": False, "find_unused_parameters": True}
    return create_ddp_model(model, **options, **({"device_ids": None} if on_cpu else {}))
