"""The order of given masks: an image once, two views of every near pair, and a look at all pairs.

1. `ImageBranch` turns the image and the outlines of all masks into a dense map of stride 4, a
   coarse one, and a map of relative depth.
2. `ViewNet` looks at each near pair as a whole and at the place where the two meet. Masks and image
   have a first layer of their own; what they say is added.
3. `PairRelation` joins views, geometry and depth of all pairs, and gives their logits. Everything
   is a function of an ordered pair, computed both ways round with the same weights, so exchanging
   two instances transposes the answer.

Shapes: I images, M instances, Q ordered pairs with the diagonal, P near pairs, S the side of a
view, H x W pixels, h x w cells of `STRIDE` pixels, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from occ_order.layers.contact_pooling import find_contacts, pool_contacts, pool_masks
from occ_order.layers.instance_pairs import PairLayout, pair_layout
from occ_order.layers.pair_crops import mask_boxes
from occ_order.modeling.mask_order import views
from occ_order.modeling.roi_heads.order_head import canonical_order, covers
from occ_order.modeling.roi_heads.order_map import CUES, mask_cues
from occ_order.modeling.roi_heads.order_relation import (
    INSTANCE_CUES,
    PAIR_CUES,
    PairRelation,
    instance_geometry,
    pair_geometry,
)

STRIDE = 4
DEPTH_CUES = 3
"""What the depth map says of a pair: differences of mean, of mean at the contact, of lowest end."""


def conv(in_channels: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with batch normalisation and ReLU."""
    layer = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class ImageBranch(nn.Module):
    """Features of an image for the order of the instances in it.

    A backbone's maps are joined from the coarsest to stride 4, where the outlines of all masks come
    in as well.
    """

    def __init__(self, backbone: nn.Module, channels: dict[str, int], width: int):
        """Build it.

        Args:
            backbone: image (I, 3, H, W) -> {name: map}, as Detectron2's backbones.
            channels: of its maps of stride 4, 8, 16 and 32, in this order, by name.
            width: D of the dense map.
        """
        super().__init__()
        self.backbone, self.names = backbone, tuple(channels)
        self.lateral = nn.ModuleList(conv(c, width, 1) for c in channels.values())
        self.smooth = nn.ModuleList(conv(width, width) for _ in channels)
        self.outlines = conv(CUES, width // 2, 2 * STRIDE - 1, STRIDE)
        self.join = conv(width + width // 2, width)
        self.depth = nn.Sequential(conv(width, width), nn.Conv2d(width, 1, 1))

    def forward(
        self, images: torch.Tensor, cues: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute the maps.

        Args:
            images: float32 (I, 3, H, W), normalised; H and W are multiples of 32.
            cues: float32 (I, 4, H, W) of `occ_order.modeling.roi_heads.order_map.mask_cues`.

        Returns:
            The dense map (I, D, h, w); one of stride 16 (I, D, H / 16, W / 16); and the logarithm
            of relative depth (I, 1, h, w): larger = farther.
        """
        maps = self.backbone(images)
        x, coarse = None, None
        for level in reversed(range(len(self.names))):
            lateral = self.lateral[level](maps[self.names[level]])
            if x is not None:
                lateral = lateral + F.interpolate(x, size=lateral.shape[-2:], mode="nearest")
            x = self.smooth[level](lateral)
            if level == 2:
                coarse = x
        depth = self.depth(x)
        return self.join(torch.cat([x, self.outlines(cues)], 1)), coarse, depth


class ViewNet(nn.Module):
    """A small residual network over one view of a pair.

    Args:
        widths: channels of each stage; each halves the resolution, the first layer does so, too.
        feature_channels: channels of the dense map, 0 = masks only.
        use_masks: whether the outlines are looked at.
        out_channels: channels of the answer.
    """

    def __init__(
        self,
        widths: Sequence[int],
        feature_channels: int,
        *,
        use_masks: bool,
        out_channels: int,
    ):
        super().__init__()
        first = widths[0]
        self.masks = nn.Conv2d(4, first, 5, 2, 2, bias=False) if use_masks else None
        self.image = None
        if feature_channels:
            self.image = nn.Conv2d(3, first, 5, 2, 2, bias=False)
            self.features = nn.Conv2d(feature_channels, first, 1, bias=False)
        self.norm = nn.BatchNorm2d(first)
        stages, channels = [], first
        for number, width in enumerate(widths):
            stages.append(_Stage(channels, width, stride=1 if number == 0 else 2))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.out = nn.Linear(2 * channels, out_channels)

    def forward(
        self,
        masks: torch.Tensor,
        image: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute the answers for both ways round.

        Args:
            masks: float32 (2, P, 4, S, S) of `occ_order.modeling.mask_order.views.mask_views`.
            image: float32 (P, 3, S, S).
            features: float32 (P, feature_channels, S / 2, S / 2).

        Returns:
            float32 (2, P, out_channels).
        """
        x = 0
        if self.masks is not None:
            x = self.masks(masks.flatten(0, 1))
        if self.image is not None:
            x = x + torch.cat([self.image(image) + self.features(features)] * 2)
        if self.masks is None:
            # Without outlines only the place of the first instance tells the two apart.
            x = x * (0.5 + F.avg_pool2d(masks.flatten(0, 1)[:, :1], 2))
        x = self.stages(F.relu(self.norm(x)))
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return F.relu(self.out(pooled)).unflatten(0, (2, -1))


class _Stage(nn.Module):
    """Two convolutions, with a residual of the second one."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.first = conv(in_channels, channels, stride=stride)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return F.relu(x + self.second(x))


@dataclass
class MaskOrderOutput:
    """What `MaskOrderNetwork` says of a batch.

    Attributes:
        occlusion: (Q,), logit of "the first occludes the second"; about `FAR` where the two do not
            meet.
        depth: (Q, 3), logits of closer, farther, equal.
        log_depth: (I, 1, h, w), logarithm of relative depth, larger = farther.
        near: bool (Q,), the pair meets.
        layout: the pairs.
    """

    occlusion: torch.Tensor
    depth: torch.Tensor
    log_depth: torch.Tensor | None
    near: torch.Tensor
    layout: PairLayout


FAR = -20.0
"""Logit of an occlusion between instances that do not meet."""


class MaskOrderNetwork(nn.Module):
    """See the module.

    Args:
        image_branch: None = outlines alone.
        width: channels of its dense map.
        use_outlines: False = the image alone: views show no masks and geometry is not told.
        view_size: S.
        view_widths: of `ViewNet`.
        view_channels: channels of the answer about a view.
        hidden: D of `PairRelation`.
        rounds: of `PairRelation`.
        contact_radius: in cells of 4 pixels; two instances meet where one comes as near as that.
        pairs_at_once: near pairs that go through the views at once at test time; memory.
        jitter: (shift, scale) of `views.jittered_squares` in training.
    """

    def __init__(
        self,
        image_branch: ImageBranch | None,
        width: int,
        *,
        use_outlines: bool = True,
        view_size: int = 64,
        view_widths: Sequence[int] = (32, 64, 128, 192),
        view_channels: int = 128,
        hidden: int = 128,
        rounds: int = 2,
        contact_radius: int = 2,
        pairs_at_once: int = 64,
        jitter: tuple[float, float] = (0.1, 1.25),
    ):
        super().__init__()
        if image_branch is None and not use_outlines:
            raise ValueError("a network that sees neither the image nor outlines has no input")
        self.image_branch, self.use_outlines = image_branch, use_outlines
        self.view_size, self.view_channels = view_size, view_channels
        self.contact_radius, self.pairs_at_once = contact_radius, pairs_at_once
        self.jitter = tuple(jitter)
        width = width if image_branch is not None else 0
        options = {"use_masks": use_outlines, "out_channels": view_channels}
        self.whole = ViewNet(view_widths, width, **options)
        self.contact = ViewNet(view_widths, width, **options)
        geometry = (INSTANCE_CUES, PAIR_CUES) if use_outlines else (0, 0)
        self.relation = PairRelation(
            2 * width + (1 if width else 0) + geometry[0],
            2 * view_channels + 2 * width + (DEPTH_CUES if width else 0) + geometry[1],
            hidden,
            rounds,
        )

    def forward(
        self,
        images: torch.Tensor,
        sizes: Sequence[tuple[int, int]],
        masks: Sequence[torch.Tensor],
    ) -> MaskOrderOutput:
        """Compute the logits of all ordered pairs.

        Args:
            images: float32 (I, 3, H, W), normalised, padded to multiples of 32.
            sizes: height and width of each image without its padding.
            masks: of each image bool (n, height, width).
        """
        layout = pair_layout([len(mask) for mask in masks], images.device)
        height, width = images.shape[-2:]
        stacked = torch.cat(
            [F.pad(m, (0, width - m.shape[2], 0, height - m.shape[1])) for m in masks]
        )
        # Rounding depends on the place of a row in a matrix product. Instances are looked at in an
        # order of their own, so that the one they come in shows in no bit of the answer.
        order = canonical_order(covers(stacked, STRIDE), layout)
        dense = coarse = log_depth = None
        if self.image_branch is not None:
            cues = mask_cues(stacked, layout.counts)
            dense, coarse, log_depth = self.image_branch(images, cues)
        if len(stacked) == 0:
            nothing = 0.0 * sum(p.sum() for p in self.parameters())
            near = torch.zeros(0, dtype=torch.bool, device=images.device)
            return MaskOrderOutput(nothing.expand(0), nothing.expand(0, 3), log_depth, near, layout)
        scale = torch.tensor(sizes, device=images.device, dtype=torch.float32)[layout.image]
        occlusion, depth, near = self._relate(
            images, dense, coarse, log_depth, stacked[order], scale, layout
        )
        rank = torch.argsort(order)
        asked = layout.place(rank[layout.row], rank[layout.col])
        return MaskOrderOutput(occlusion[asked], depth[asked], log_depth, near[asked], layout)

    def _relate(self, images, dense, coarse, log_depth, masks, size, layout: PairLayout):
        cover = covers(masks, STRIDE)
        contacts = find_contacts(cover, layout, self.contact_radius)
        places = views.near_pairs(contacts, layout)
        boxes = mask_boxes(masks)
        seen = self._views(images, dense, masks, boxes, contacts, places, layout)
        instances, pairs = [], [seen]
        if dense is not None:
            meeting = pool_contacts(dense, contacts)
            pairs += [meeting, meeting[layout.swapped]]
            coarse_cover = F.avg_pool2d(cover[None], 16 // STRIDE)[0]
            instances += [
                pool_masks(dense, cover, layout),
                pool_masks(coarse, coarse_cover, layout),
            ]
            own, cues = self._depth_cues(log_depth, cover, contacts, layout)
            instances.append(own)
            pairs.append(cues)
        if self.use_outlines:
            area = cover.flatten(1).sum(1)
            instances.append(instance_geometry(boxes, area * STRIDE**2, size))
            pairs.append(pair_geometry(boxes / STRIDE, area, contacts.length, layout))
        occlusion, depth = self.relation(torch.cat(instances, 1), torch.cat(pairs, 1), layout)
        near = torch.zeros(len(layout.row), dtype=torch.bool, device=images.device)
        near[places] = True
        near = near | near[layout.swapped]
        # Which of two that do not meet would be in front is still told, far below any threshold.
        return torch.where(near, occlusion, occlusion.clamp(-8, 8) + FAR), depth, near

    def _views(self, images, dense, masks, boxes, contacts, places, layout: PairLayout):
        """Return float32 (Q, 2 view_channels): what both views say; 0 for pairs that are far."""
        result = images.new_zeros((len(layout.row), 2 * self.view_channels))
        if len(places) == 0:
            return result
        pairs = torch.stack([layout.row[places], layout.col[places]], 1)
        size = (masks.shape[1] // STRIDE, masks.shape[2] // STRIDE)
        contact = views.contact_boxes(contacts, layout, places, size, STRIDE)
        squares = views.pair_squares(boxes, contact, pairs)
        if self.training:
            squares = [views.jittered_squares(square, *self.jitter) for square in squares]
        halves, exact = covers(masks, 2), masks.float()
        step = len(places) if self.training else self.pairs_at_once
        for start in range(0, len(places), step):
            part = slice(start, start + step)
            whole = self._view(
                self.whole, images, dense, halves, 2, layout, pairs[part], squares[0][part]
            )
            close = self._view(
                self.contact, images, dense, exact, 1, layout, pairs[part], squares[1][part]
            )
            forward, backward = torch.cat([whole, close], 2).to(result.dtype)
            result = result.index_put((places[part],), forward)
            result = result.index_put((layout.swapped[places[part]],), backward)
        return result

    def _view(self, net, images, dense, masks, stride, layout, pairs, squares):
        shown = views.mask_views(masks, stride, layout, pairs, squares, self.view_size)
        if dense is None:
            return net(shown)
        image = layout.image[pairs[:, 0]]
        return net(
            shown,
            views.crop(images, image, squares, self.view_size),
            views.crop(dense.float(), image, squares, self.view_size // 2, STRIDE),
        )

    def _depth_cues(self, log_depth, cover, contacts, layout: PairLayout):
        """Return the depth (M, 1) of each instance, and differences (Q, `DEPTH_CUES`) of pairs."""
        own = pool_masks(log_depth, cover, layout)
        meeting = pool_contacts(log_depth, contacts)
        lowest = _lowest_depth(log_depth, cover, layout)
        apart = own[layout.row] - own[layout.col]
        close = meeting - meeting[layout.swapped]
        low = lowest[layout.row] - lowest[layout.col]
        return own, torch.cat([apart, close, low], 1)


def _lowest_depth(log_depth, cover, layout: PairLayout) -> torch.Tensor:
    """Return the mean of the map over the lowest cells of each instance, (M, 1).

    What stands on the ground is as far as the ground it stands on.
    """
    height = cover.shape[1]
    rows = torch.arange(height, device=cover.device, dtype=torch.float32)
    filled = cover.amax(2) > 0
    lowest = torch.where(filled, rows, -1.0).amax(1, keepdim=True)
    top = torch.where(filled, rows, float(height)).amin(1, keepdim=True)
    start = lowest - 0.15 * (lowest - top)
    low = cover * (rows >= start)[:, :, None]
    return pool_masks(log_depth, low, layout)
