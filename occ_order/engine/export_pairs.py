"""Export of pairwise networks (InstaOrderNet, OrderNet) for an image with input masks.

The graph contains everything `PairwiseOrderNet.orders` does: the crops of all pairs, both
directions of each, and the average of their probabilities. It is the code of the model itself;
only the batches differ, as all pairs are processed at once. In another runtime, single pixels of
the crops may be rounded to the next whole number. The order of two instances does not
depend on the others, so that many instances may be ordered in groups.

Shapes: N instances, P pairs, H x W the size of the image.
"""

from __future__ import annotations

import torch
from torch import nn

from occ_order.methods.common.pair_crops import resize_images
from occ_order.methods.instaorder.order_net import PairwiseOrderNet

OUTPUTS = {
    "occlusion": "1 = the row occludes the column",
    "occlusion_probability": "probability that the row occludes the column",
    "depth": "1 = the row is closer, 0 = farther, 2 = equal, -1 = the diagonal",
    "depth_probability": "probabilities: the row is closer; farther; equal",
}
"""Outputs of `PairwiseOrderNet.orders` and their meaning."""


class PairGraph(nn.Module):
    """A `PairwiseOrderNet` on all pairs of one image."""

    def __init__(self, model: PairwiseOrderNet) -> None:
        """Share the weights of the model.

        Raises:
            ValueError: the model does not order all pairs.
        """
        super().__init__()
        if model.test_pairs != "all":
            raise ValueError(
                f"MODEL.PAIRWISE.TEST_PAIRS {model.test_pairs!r} cannot be exported; the graph "
                "orders 'all' pairs"
            )
        self.model = model
        self.inputs = tuple(inputs(model))
        found = ["depth" if task == "depth" else "occlusion" for task in model.classifier.heads]
        self.outputs = tuple(f"{name}{kind}" for name in found for kind in ("", "_probability"))

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the matrices of `PairwiseOrderNet.orders`, in the order of `outputs`.

        Args:
            given: what the network uses (`inputs`), in this order: image float (1, 3, H, W), 0 ..
                255; masks float (N, H, W), 1 inside; classes int64 (N,); maps float (N, H, W).
        """
        named = dict(zip(self.inputs, given, strict=True))
        image = named.pop("image")[0] if "image" in named else None
        named = {name: _with_empty(value) for name, value in named.items()}
        masks = named["masks"]
        blank = torch.zeros_like(masks[:, 0, 0])
        classes = named.get("classes", blank.long())
        pairs = _pairs(blank)
        scene = self.model.inputs.scene_of(image, masks, classes, named.get("maps"))
        answers = self.model.averaged(self.model.inputs(scene, pairs))
        found = self.model.matrices(answers, pairs, masks.shape[0])
        return tuple(found[name][:-1, :-1] for name in self.outputs)


def inputs(
    model: PairwiseOrderNet, channels: str = "RGB"
) -> dict[str, tuple[tuple[int | str, ...], str]]:
    """Return shape and description of the inputs by name; `channels`: order of the image's."""
    mode = "cropped around each pair" if model.inputs.mode == "crop" else "resized"
    size = f"any size, {mode} to {model.inputs.size} pixels inside the network"
    found: dict[str, tuple[tuple[int | str, ...], str]] = {}
    if "image" in model.inputs.planes:
        found["image"] = ((1, 3, "height", "width"), f"0 .. 255, {channels}; {size}")
    found["masks"] = (("number", "height", "width"), "1 inside an instance, else 0; modal masks")
    if model.inputs.category_encoding != "none":
        count = len(model.inputs.category_ids)
        found["classes"] = (("number",), f"int64, 0 .. {count - 1}")
    if "maps" in model.inputs.planes:
        found["maps"] = (("number", "height", "width"), f"{model.map_field} of the instances")
    return found


def _with_empty(values: torch.Tensor) -> torch.Tensor:
    """Append the zeros of an empty instance: (N + 1, ...)."""
    return torch.cat([values, values.new_zeros((1, *values.shape[1:]))])


def _pairs(instances: torch.Tensor) -> torch.Tensor:
    """Return the pairs of the first N instances, int64 (P, 2); see `occ_order.order.pairs`.

    Without any, it is the last instance with itself: runtimes need not support empty batches.

    Args:
        instances: (N + 1,); the last one is empty.
    """
    place = torch.ones_like(instances, dtype=torch.int64).cumsum(0) - 1
    row, column, last = place[:, None], place[None], place[-1]
    alone = (row == last) & (column == last) & (last < 2)
    pairs = (((row < column) & (column < last)) | alone).nonzero()
    if torch.compiler.is_exporting():
        torch._check(pairs.shape[0] >= 1)
    return pairs


def example(model: PairwiseOrderNet, number: int) -> tuple[torch.Tensor, ...]:
    """Create an image with a number of rectangular instances; its size depends on the number.

    The image is as smooth as photographs are: where neighbours have nothing in common, the rounding
    of coordinates moves some pixels of the crops to the next whole number.
    """
    height, width = 40 + 9 * number, 50 + 5 * number
    masks = torch.zeros((number, height, width))
    for mask in masks:
        y, x = (int(torch.randint(side // 2, ())) for side in mask.shape)
        mask[y : y + height // 2, x : x + width // 2] = 1
    made = {
        "image": resize_images(torch.rand(3, 5, 6) * 255, (height, width)).round()[None],
        "masks": masks,
        "classes": torch.arange(number) % len(model.inputs.category_ids),
        "maps": torch.rand(masks.shape) * masks,
    }
    return tuple(made[name] for name in inputs(model))
