"""Export of `MaskOrderNet` as a graph of tensor operations, for `occ_order.lite.mask_order`.

The network collects lists of contacts between instances, whose lengths depend on the values of the
masks, which exporters do not support. The lists are therefore computed outside the graph, which
takes their content as inputs: views, averaging weights, geometry. Results agree up to rounding.

Shapes: N instances, Q = N * N ordered pairs, E views of pairs that meet, h x w cells.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import nn

from occ_order.engine.export_order_head import gather_square, mask_means, square_layout
from occ_order.lite import mask_order as lite
from occ_order.methods.mask_order import views
from occ_order.methods.mask_order.meta_arch import MaskOrderNet
from occ_order.methods.mask_order.network import (
    FAR,
    ImageBranch,
    MaskOrderNetwork,
    OutlineBranch,
)


def inputs(settings: lite.Settings) -> dict[str, tuple[tuple[int | str, ...], str]]:
    """Return shape and description of the inputs by name; computed by `lite.prepared`."""
    whole, contact = settings.view_sizes
    return {
        "image": ((1, 3, "height", "width"), "0 .. 255; sides are multiples of 32"),
        "cues": ((1, 4, "height", "width"), "covered; covered twice; outline to the right; below"),
        "cover": (("number", "rows", "columns"), "fraction of each cell of 4 pixels covered"),
        "lowest": (("number", "rows", "columns"), "the same for the lowest 15 % of an instance"),
        "meeting": (("views", "cells"), "averaging weights of the contact cells, sum 1"),
        "place": (("views",), "int64, first * number + second of each view"),
        "instances": (("number", 7), "geometry of instances"),
        "pairs": (("pairs", 14), "geometry of pairs"),
        "whole": (("views", 4, whole, whole), "first, second, other masks, image: a whole pair"),
        "contact": (("views", 4, contact, contact), "the same for the contact"),
    }


class MaskOrderGraph(nn.Module):
    """Both branches of a `MaskOrderNet`, for an image with preprocessed masks."""

    def __init__(self, model: MaskOrderNet) -> None:
        """Share the weights of the model.

        Raises:
            ValueError: test-time flipping is enabled, or a branch is missing.
        """
        super().__init__()
        if model.flip:
            raise ValueError("MODEL.MASK_ORDER.FLIP True cannot be exported")
        _branches(model.network)
        self.network = model.network
        self.register_buffer("mean", model.pixel_mean.clone())
        self.register_buffer("std", model.pixel_std.clone())

    def forward(
        self, image, cues, cover, lowest, meeting, place, instances, pairs, whole, contact
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute logits of occlusion (N, N) and depth (N, N, 3), and log depth (1, 1, h, w).

        Diagonals of the logits are undefined.

        Args:
            image, cues, cover, lowest, meeting, place, instances, pairs: see `inputs`.
            whole, contact: likewise.
        """
        layout, network = square_layout(cover), self.network
        look, image_branch = _branches(network)
        said = torch.cat([look.whole.look(whole), look.contact.look(contact)], 1)
        said = _table(said, place, pairs)
        answers = [
            look.relation(instances, torch.cat([said, pairs], 1), layout, gathered=gather_square)
        ]

        dense, coarse, log_depth = image_branch.maps((image - self.mean) / self.std, cues)
        near = _table(torch.ones_like(meeting[:, :1]), place, pairs)[:, 0] > 0
        met = meeting @ torch.cat([dense, log_depth], 1)[0].flatten(1).T
        met = _table(met, place, pairs)
        meet, meet_depth = met[:, :-1], met[:, -1:]
        own, low = mask_means(log_depth, cover), mask_means(log_depth, lowest)
        row, col, swapped = layout.row, layout.col, layout.swapped
        depth = [own[row] - own[col], meet_depth - meet_depth[swapped], low[row] - low[col]]
        fine = F.avg_pool2d(cover[:, None], lite.COARSE // lite.STRIDE)[:, 0]
        about = [mask_means(dense, cover), mask_means(coarse, fine), own, instances]
        between = [meet, meet[swapped], *depth, pairs]
        answers.append(
            image_branch.relation(
                torch.cat(about, 1), torch.cat(between, 1), layout, gathered=gather_square
            )
        )
        weights = network.image_weights
        occlusion = answers[0][0] + weights[0] * answers[1][0]
        order = answers[0][1] + weights[1] * answers[1][1]
        occlusion = torch.where(near, occlusion, occlusion.clamp(-8, 8) + FAR)
        number = cover.shape[0]
        return occlusion.reshape(number, number), order.reshape(number, number, 3), log_depth


def _branches(network: MaskOrderNetwork) -> tuple[OutlineBranch, ImageBranch]:
    """Return the branches of a network.

    Raises:
        ValueError: one is missing.
    """
    if network.image is None or network.outlines is None:
        raise ValueError("only a MaskOrderNet with both branches can be exported")
    return network.outlines, network.image


def _table(values: torch.Tensor, place: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Scatter rows (E, C) to their places in a table (Q, C) of zeros."""
    table = torch.zeros_like(pairs[:, :1]).expand(-1, values.shape[1])
    return table.scatter(0, place[:, None].expand_as(values), values)


def settings_of(model: MaskOrderNet, cfg: CfgNode) -> lite.Settings:
    """Return the settings for the metadata of the graph."""
    red, green, blue = (float(value) for value in model.pixel_mean.flatten())
    small, large = _branches(model.network)[0].view_sizes
    return lite.Settings(
        min_size=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
        channels=cfg.INPUT.FORMAT,
        mean=(red, green, blue),
        radius=model.network.contact_radius,
        view_sizes=(small, large),
        contact_margin=views.CONTACT_MARGIN,
        contact_share=views.CONTACT_SHARE,
        threshold=model.threshold,
    )


def example(settings: lite.Settings, number: int) -> tuple[torch.Tensor, ...]:
    """Create preprocessed input for a number of rectangular instances, some of them in contact."""
    rng = np.random.default_rng(number)
    size = (3 * settings.min_size // 2, 2 * settings.min_size)
    masks = np.zeros((number, *size), bool)
    for mask in masks:
        y, x = (int(rng.integers(side // 2)) for side in size)
        mask[y : y + size[0] // 3, x : x + size[1] // 3] = True
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    given, _ = lite.prepared(image, masks, settings)
    return tuple(torch.from_numpy(given[name]) for name in inputs(settings))
