"""InstaOrderNet^o, ^d, ^{o,d} (Lee & Park, Section 4.1), OrderNet, OrderNet(ext.) (Section 5.1).

A ResNet on [mask A, mask B, image] with a linear layer per task. All pairs of an image are
processed in batches, in both directions; the image is preprocessed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import nn

from occ_order.methods.common import pair_labels as labels
from occ_order.methods.common.input_masks import input_instances, with_orders
from occ_order.methods.common.pair_classifier import PairClassifier, init_xavier
from occ_order.methods.common.pair_losses import class_loss, depth_loss, occlusion_loss
from occ_order.methods.instaorder.inputs import PairInputs
from occ_order.order.pairs import all_pairs, select_pairs

TASKS = ("occlusion", "depth", "relation")


@META_ARCH_REGISTRY.register()
class PairwiseOrderNet(nn.Module):
    """Predict the order of input masks pair by pair.

    In training, inputs have `pairs` (P, 2) and, with crops, `jitter` (P, 3)
    (`occ_order.methods.common.pair_mapper.PairMapper`); without them all pairs are used. The
    output is the losses "loss_occlusion", "loss_depth" or "loss_relation" of the tasks. At test
    time it is {"instances"} for each image: the input instances in the same order with pred_masks,
    pred_classes, scores, pred_boxes, and PairMatrix fields occlusion and occlusion_probability
    (tasks occlusion, relation), depth and depth_probability (task depth).
    """

    requires_masks = accepts_masks = True  # read by `OrderPredictor`

    @configurable
    def __init__(
        self,
        *,
        inputs: PairInputs,
        classifier: PairClassifier,
        num_relations: int = 3,
        map_field: str = "",
        threshold: float = 0.5,
        test_pairs: str = "all",
        pairs_per_batch: int = 32,
        both_directions: bool = True,
        depth_loss_weights: tuple[float, float] = (0.9, 0.1),
        double_softmax: bool = False,
    ) -> None:
        """Initialise the model.

        Args:
            inputs: computes the input of the network.
            classifier: network with a head for each task, some of `TASKS`.
            num_relations: 3 or 4, for task "relation".
            map_field: field of the instances that contains their maps; "" = none.
            threshold: threshold of the occlusion probability.
            test_pairs: pairs to order at test time (`occ_order.order.pairs.KINDS`).
            pairs_per_batch: batch size of pairs at test time.
            both_directions: train on both directions of each pair, as published.
            depth_loss_weights: weights of distinct and overlapping pairs.
            double_softmax: compat: apply a softmax before the cross-entropy.

        Raises:
            ValueError: unknown task, or two tasks that predict occlusion.
        """
        super().__init__()
        tasks = set(classifier.heads)
        if not tasks or tasks - set(TASKS) or {"occlusion", "relation"} <= tasks:
            raise ValueError(
                f"tasks must be some of {TASKS}, and not both of occlusion and relation, "
                f"got {sorted(tasks)}"
            )
        self.inputs, self.classifier = inputs, classifier
        self.num_relations, self.map_field = num_relations, map_field
        self.threshold, self.test_pairs = threshold, test_pairs
        self.pairs_per_batch, self.both_directions = pairs_per_batch, both_directions
        self.depth_loss_weights, self.double_softmax = tuple(depth_loss_weights), double_softmax

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL.PAIRWISE and MODEL.BACKBONE."""
        own = cfg.MODEL.PAIRWISE
        inputs = PairInputs(cfg)
        build = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)
        sizes = {"occlusion": 2, "depth": 3, "relation": own.NUM_RELATIONS}
        unknown = set(own.TASKS) - set(sizes)
        if unknown:
            raise ValueError(f"MODEL.PAIRWISE.TASKS must be some of {TASKS}, got {own.TASKS}")
        backbone = build(cfg, ShapeSpec(channels=inputs.channels))
        classifier = PairClassifier(backbone, {task: sizes[task] for task in own.TASKS})
        if own.INIT == "xavier":
            init_xavier(classifier)
        return {
            "inputs": inputs,
            "classifier": classifier,
            "num_relations": own.NUM_RELATIONS,
            "map_field": own.MAP_FIELD if "maps" in own.INPUTS else "",
            "threshold": own.OCCLUSION_THRESHOLD,
            "test_pairs": own.TEST_PAIRS,
            "pairs_per_batch": own.PAIRS_PER_BATCH,
            "both_directions": own.TRAIN_BOTH_DIRECTIONS,
            "depth_loss_weights": own.DEPTH_LOSS_WEIGHTS,
            "double_softmax": own.COMPAT.DOUBLE_SOFTMAX,
        }

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.inputs.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Return the losses in training, else one {"instances"} for each input; see the class."""
        if self.training:
            return self._losses(batched_inputs)
        with torch.no_grad():
            return [{"instances": self._predict(one)} for one in batched_inputs]

    def orders(self, image: torch.Tensor, found: Instances) -> dict[str, torch.Tensor]:
        """Predict the order matrices of the input instances of one image.

        Args:
            image: (3, H, W), 0 .. 255, channel order INPUT.FORMAT.
            found: N `input_instances` of the same size.

        Returns:
            "occlusion" int8 (N, N) and "occlusion_probability" float32 (N, N), and / or "depth"
            int8 (N, N) and "depth_probability" float32 (N, N, 3).
        """
        kind = self.test_pairs
        masks = found.pred_masks.cpu().numpy() if kind != "all" else None
        chosen = all_pairs(len(found)) if masks is None else select_pairs(masks, kind)
        pairs = torch.as_tensor(chosen, device=self.device)
        scene = self.inputs.scene(image, found)
        parts = [
            self.averaged(self.inputs(scene, chunk))
            for chunk in pairs.split(self.pairs_per_batch)
            if len(chunk)
        ]
        answers = {}
        for task, head in self.classifier.heads.items():
            none = torch.zeros((0, head.out_features), device=self.device)
            answers[task] = torch.cat([none, *(part[task] for part in parts)])
        return self.matrices(answers, pairs, len(found))

    def averaged(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Classify P pairs, and average the probabilities of both directions.

        Args:
            inputs: float (2 P, channels, S, S), row ``P + k`` is pair k reversed.

        Returns:
            float (P, classes) of each task.
        """
        average = {
            "occlusion": labels.average_occlusion,
            "depth": labels.average_depth,
            "relation": labels.average_relation,
        }
        return {task: average[task](values) for task, values in self.classifier(inputs).items()}

    def matrices(
        self, answers: dict[str, torch.Tensor], pairs: torch.Tensor, count: int
    ) -> dict[str, torch.Tensor]:
        """Convert the averaged probabilities of all pairs to the matrices of `orders`.

        Args:
            answers: float (P, classes) of each task.
            pairs: int64 (P, 2).
            count: N.
        """
        result = {}
        for task, values in answers.items():
            if task == "depth":
                order, probability = labels.depth_matrices(values, pairs, count)
            elif task == "relation":
                order, probability = labels.relation_matrices(values, pairs, count)
            else:
                order, probability = labels.occlusion_matrices(
                    values, pairs, count, threshold=self.threshold
                )
            name = "depth" if task == "depth" else "occlusion"
            result.update({name: order, f"{name}_probability": probability})
        return result

    def _predict(self, one: dict[str, Any]):
        found = input_instances(one, self.device, map_field=self.map_field)
        return with_orders(one, found, self.orders(one["image"], found))

    def _losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        inputs, targets = [], []
        for one in batched_inputs:
            found = input_instances(one, self.device, map_field=self.map_field)
            pairs = _pairs_of(one, len(found)).to(self.device)
            scene = self.inputs.scene(one["image"], found)
            options = {"jitter": one.get("jitter"), "reversed_too": self.both_directions}
            inputs.append(self.inputs(scene, pairs, **options))
            asked = torch.cat([pairs, pairs.flip(1)]) if self.both_directions else pairs
            targets.append(self._targets(one["instances"], asked))
        joined = torch.cat(inputs)
        if not len(joined):
            return {f"loss_{task}": _zero(head) for task, head in self.classifier.heads.items()}
        target = {key: torch.cat([part[key] for part in targets]) for key in targets[0]}
        logits = self.classifier(joined)
        return {f"loss_{task}": 2 * self._loss(task, logits[task], target) for task in logits}

    def _targets(self, instances, pairs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the labels of ordered pairs for each task."""
        device = pairs.device
        occlusion = instances.gt_occlusion.tensor.to(device)
        overlap = instances.gt_overlap.tensor.to(device)
        make: dict[str, Callable[[], torch.Tensor]] = {
            "occlusion": lambda: labels.occlusion_labels(occlusion, pairs),
            "relation": lambda: labels.relation_labels(occlusion, pairs, self.num_relations),
            "depth": lambda: labels.depth_labels(instances.gt_depth.tensor.to(device), pairs),
        }
        result = {task: make[task]() for task in self.classifier.heads}
        result["overlap"] = overlap[pairs[:, 0], pairs[:, 1]]
        return result

    def _loss(
        self, task: str, logits: torch.Tensor, target: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Compute the mean over both directions; the caller doubles it to the published sum."""
        if task == "occlusion":
            return occlusion_loss(logits, target[task])
        if task == "relation":
            return class_loss(logits, target[task], double_softmax=self.double_softmax)
        return depth_loss(
            logits,
            target[task],
            target["overlap"],
            weights=self.depth_loss_weights,
            double_softmax=self.double_softmax,
        )


def _pairs_of(one: dict[str, Any], count: int) -> torch.Tensor:
    """Return the sampled pairs of a training input, or all pairs."""
    pairs = one.get("pairs")
    return torch.from_numpy(all_pairs(count)) if pairs is None else torch.as_tensor(pairs)


def _zero(head: nn.Linear) -> torch.Tensor:
    """Return a loss of 0 that keeps the graph."""
    return 0.0 * sum(parameter.sum() for parameter in head.parameters())
