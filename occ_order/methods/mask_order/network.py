"""The order of given masks from two sources whose answers are added: outlines and the image.

* `OutlineBranch` looks at the masks alone. Every near pair is seen as a whole and at the place
  where the two meet (`ViewNet`).
* `ImageBranch` passes the image through a backbone once (`ImageMaps`), and pools features and a map
  of relative depth over each instance and over the contact of each pair.

Either ends in a `PairRelation`, which joins what is known of all pairs and gives their logits, and
can be trained and used alone: outlines learn who is in front within minutes, the image how far
things are. Everything is a function of an ordered pair, computed both ways round with the same
weights, so exchanging two instances transposes the answer.

Shapes: I images, M instances, Q ordered pairs with the diagonal, P near pairs, S the side of a
view, H x W pixels, h x w cells of `STRIDE` pixels, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from occ_order.methods.common.contact_pooling import (
    Contacts,
    covers,
    find_contacts,
    pool_contacts,
    pool_masks,
)
from occ_order.methods.common.instance_pairs import PairLayout, canonical_order, pair_layout
from occ_order.methods.common.order_map import CUES, mask_cues
from occ_order.methods.common.order_relation import (
    INSTANCE_CUES,
    PAIR_CUES,
    PairRelation,
    instance_geometry,
    pair_geometry,
)
from occ_order.methods.common.pair_crops import mask_boxes
from occ_order.methods.mask_order import views

STRIDE = 4
VIEW_MAPS = 4
"""Maps of a view: the first instance, the second, the others, the image's area."""

DEPTH_CUES = 3
"""What the depth map says of a pair: differences of mean, of mean at the contact, of lowest end."""


def conv(in_channels: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with batch normalisation and ReLU."""
    layer = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class ImageMaps(nn.Module):
    """Features of an image for the order of the instances in it.

    A backbone's maps are joined from the coarsest to stride 4, where the outlines of all masks come
    in as well.
    """

    def __init__(self, backbone: nn.Module, channels: dict[str, int], width: int) -> None:
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
            cues: float32 (I, 4, H, W) of `occ_order.methods.common.order_map.mask_cues`.

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
        out_channels: channels of the answer.
    """

    def __init__(self, widths: Sequence[int], out_channels: int) -> None:
        super().__init__()
        stages, channels = [], widths[0]
        for number, width in enumerate(widths):
            stages.append(_Stage(channels, width, stride=1 if number == 0 else 2))
            channels = width
        self.stem = conv(VIEW_MAPS, widths[0], 5, 2)
        self.stages = nn.Sequential(*stages)
        self.out = nn.Linear(2 * channels, out_channels)

    def forward(self, masks: torch.Tensor) -> torch.Tensor:
        """Compute the answers for both ways round.

        Args:
            masks: float32 (2, P, 4, S, S) of `occ_order.methods.mask_order.views.mask_views`.

        Returns:
            float32 (2, P, out_channels).
        """
        return self.look(masks.flatten(0, 1)).unflatten(0, (2, -1))

    def look(self, masks: torch.Tensor) -> torch.Tensor:
        """Compute the answers for views (E, 4, S, S), float32 (E, out_channels)."""
        x = self.stages(self.stem(masks))
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return F.relu(self.out(pooled))


class _Stage(nn.Module):
    """Two convolutions, with a residual of the second one."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
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
    """What a network says of a batch.

    Attributes:
        occlusion: (Q,), logit of "the first occludes the second"; about `FAR` where the two do not
            meet.
        depth: (Q, 3), logits of closer, farther, equal.
        log_depth: (I, 1, h, w), logarithm of relative depth, larger = farther; None without image.
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


@dataclass
class MaskBatch:
    """The masks of a batch in an order of their own.

    Rounding depends on the place of a row in a matrix product. Instances are looked at in this
    order, so that the one they come in shows in no bit of the answer.

    Attributes:
        masks: bool (M, H, W).
        cover: float32 (M, h, w), how much of a cell each fills.
        boxes: float32 (M, 4), pixels.
        size: float32 (M, 2), height and width of the image of each.
        contacts: of all pairs.
        near: int64 (P,), places of the pairs that meet.
        layout: the pairs.
        rank: int64 (M,), where each instance of the input stands.
    """

    masks: torch.Tensor
    cover: torch.Tensor
    boxes: torch.Tensor
    size: torch.Tensor
    contacts: Contacts
    near: torch.Tensor
    layout: PairLayout
    rank: torch.Tensor

    def geometry(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what masks say of each instance (M, 7) and of each pair (Q, 14)."""
        area = self.cover.flatten(1).sum(1)
        return (
            instance_geometry(self.boxes, area * STRIDE**2, self.size),
            pair_geometry(self.boxes / STRIDE, area, self.contacts.length, self.layout),
        )


def mask_batch(
    masks: Sequence[torch.Tensor],
    sizes: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    radius: int,
) -> MaskBatch:
    """Put the masks of a batch together.

    Args:
        masks: of each image bool (n, height, width).
        sizes: height and width of each image.
        shape: H and W of the padded batch, multiples of `STRIDE`.
        radius: cells within which two instances meet.
    """
    stacked = torch.cat(
        [F.pad(m, (0, shape[1] - m.shape[2], 0, shape[0] - m.shape[1])) for m in masks]
    )
    layout = pair_layout([len(mask) for mask in masks], stacked.device)
    cover = covers(stacked, STRIDE)
    order = canonical_order(cover, layout)
    stacked, cover = stacked[order], cover[order]
    scale = torch.tensor(sizes, device=stacked.device, dtype=torch.float32).view(-1, 2)
    contacts = find_contacts(cover, layout, radius)
    return MaskBatch(
        stacked,
        cover,
        mask_boxes(stacked),
        scale[layout.image],
        contacts,
        views.near_pairs(contacts, layout),
        layout,
        torch.argsort(order),
    )


class OutlineBranch(nn.Module):
    """The order of masks from the masks alone.

    Args:
        view_sizes: S of the view of the whole pair and of that of the contact.
        view_widths: of the two `ViewNet`.
        view_channels: channels of the answer about a view.
        hidden: D of `PairRelation`.
        rounds: of `PairRelation`.
        pairs_at_once: near pairs that go through the views at once at test time; memory.
        jitter: (shift, scale) of `views.jittered_squares` in training.
    """

    def __init__(
        self,
        *,
        view_sizes: tuple[int, int] = (64, 48),
        view_widths: tuple[Sequence[int], Sequence[int]] = ((24, 48, 96, 144), (16, 32, 64, 96)),
        view_channels: int = 96,
        hidden: int = 128,
        rounds: int = 2,
        pairs_at_once: int = 64,
        jitter: tuple[float, float] = (0.1, 1.25),
    ) -> None:
        super().__init__()
        self.view_sizes, self.view_channels = tuple(view_sizes), view_channels
        self.pairs_at_once, self.jitter = pairs_at_once, tuple(jitter)
        self.whole = ViewNet(view_widths[0], view_channels)
        self.contact = ViewNet(view_widths[1], view_channels)
        self.relation = PairRelation(INSTANCE_CUES, 2 * view_channels + PAIR_CUES, hidden, rounds)

    def forward(self, batch: MaskBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute logits of occlusion (Q,) and of depth (Q, 3) of all ordered pairs."""
        instances, pairs = batch.geometry()
        return self.relation(instances, torch.cat([self._views(batch), pairs], 1), batch.layout)

    def _views(self, batch: MaskBatch) -> torch.Tensor:
        """Return float32 (Q, 2 view_channels): what both views say; 0 for pairs that are far."""
        layout, near = batch.layout, batch.near
        result = batch.cover.new_zeros((len(layout.row), 2 * self.view_channels))
        if len(near) == 0:
            return result
        pairs = layout.pairs[near]
        contact = views.contact_boxes(
            batch.contacts, layout, near, tuple(batch.cover.shape[1:]), STRIDE
        )
        squares = views.pair_squares(batch.boxes, contact, pairs)
        if self.training:
            first, second = squares
            squares = (
                views.jittered_squares(first, *self.jitter),
                views.jittered_squares(second, *self.jitter),
            )
        # The whole pair is shown from masks of half the resolution: its pixels are larger anyway.
        halves, exact = covers(batch.masks, 2), batch.masks.float()
        rival = views.rivals(batch.cover, layout)
        step = len(near) if self.training else self.pairs_at_once
        for start in range(0, len(near), step):
            part = slice(start, start + step)
            shown = [
                views.mask_views(masks, stride, layout, pairs[part], square[part], size, rival)
                for masks, stride, square, size in zip(
                    (halves, exact), (2, 1), squares, self.view_sizes, strict=True
                )
            ]
            said = torch.cat([self.whole(shown[0]), self.contact(shown[1])], 2).to(result.dtype)
            result = result.index_put((near[part],), said[0])
            result = result.index_put((layout.swapped[near[part]],), said[1])
        return result


class ImageBranch(nn.Module):
    """The order of masks from the image, with the geometry of the masks.

    Args:
        maps: of the image.
        width: channels of its maps.
        hidden: D of `PairRelation`.
        rounds: of `PairRelation`.
    """

    def __init__(self, maps: ImageMaps, width: int, *, hidden: int = 128, rounds: int = 2) -> None:
        super().__init__()
        self.maps = maps
        self.relation = PairRelation(
            2 * width + 1 + INSTANCE_CUES, 2 * width + DEPTH_CUES + PAIR_CUES, hidden, rounds
        )

    def forward(
        self, images: torch.Tensor, cues: torch.Tensor, batch: MaskBatch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute logits of all ordered pairs, and the map of depth.

        Args:
            images: float32 (I, 3, H, W), normalised; H and W are multiples of 32.
            cues: float32 (I, 4, H, W) of `occ_order.methods.common.order_map.mask_cues`.
            batch: the masks.

        Returns:
            occlusion (Q,), depth (Q, 3), logarithm of relative depth (I, 1, h, w).
        """
        dense, coarse, log_depth = self.maps(images, cues)
        layout, cover = batch.layout, batch.cover
        own, depth = _depth_cues(log_depth, batch)
        meeting = pool_contacts(dense, batch.contacts)
        instances, pairs = batch.geometry()
        instances = [
            pool_masks(dense, cover, layout),
            pool_masks(coarse, F.avg_pool2d(cover[:, None], 16 // STRIDE)[:, 0], layout),
            own,
            instances,
        ]
        pairs = [meeting, meeting[layout.swapped], depth, pairs]
        return *self.relation(torch.cat(instances, 1), torch.cat(pairs, 1), layout), log_depth


def _depth_cues(log_depth: torch.Tensor, batch: MaskBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the depth (M, 1) of each instance, and differences (Q, `DEPTH_CUES`) of pairs."""
    layout = batch.layout
    own = pool_masks(log_depth, batch.cover, layout)
    meeting = pool_contacts(log_depth, batch.contacts)
    lowest = pool_masks(log_depth, _lowest_cells(batch.cover), layout)
    differences = [
        own[layout.row] - own[layout.col],
        meeting - meeting[layout.swapped],
        lowest[layout.row] - lowest[layout.col],
    ]
    return own, torch.cat(differences, 1)


def _lowest_cells(cover: torch.Tensor) -> torch.Tensor:
    """Return the lowest 15 % of each instance: what stands is as far as the ground it stands on."""
    height = cover.shape[1]
    rows = torch.arange(height, device=cover.device, dtype=torch.float32)
    filled = cover.amax(2) > 0
    bottom = torch.where(filled, rows, -1.0).amax(1, keepdim=True)
    top = torch.where(filled, rows, float(height)).amin(1, keepdim=True)
    return cover * (rows >= bottom - 0.15 * (bottom - top))[:, :, None]


class MaskOrderNetwork(nn.Module):
    """The answers of one branch or two, added; see the module.

    Args:
        outlines: None = the image alone.
        image: None = outlines alone.
        contact_radius: in cells of 4 pixels; two instances meet where one comes as near as that.
        image_weights: factors of the image's logits of occlusion and of depth beside outlines.

    Raises:
        ValueError: there is no branch.
    """

    def __init__(
        self,
        outlines: OutlineBranch | None,
        image: ImageBranch | None,
        *,
        contact_radius: int = 2,
        image_weights: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        if outlines is None and image is None:
            raise ValueError("a network that sees neither outlines nor the image has no input")
        self.outlines, self.image, self.contact_radius = outlines, image, contact_radius
        self.image_weights = tuple(image_weights) if outlines is not None else (1.0, 1.0)

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
        batch = mask_batch(masks, sizes, tuple(images.shape[-2:]), self.contact_radius)
        layout, log_depth, answers = batch.layout, None, []
        if self.image is not None:
            cues = mask_cues(batch.masks, layout.counts)
            *answer, log_depth = self.image(images, cues, batch)
            answers.append([w * part for w, part in zip(self.image_weights, answer, strict=True)])
        if self.outlines is not None:
            answers.append(self.outlines(batch))
        occlusion, depth = (sum(values) for values in zip(*answers, strict=True))
        near = torch.zeros(len(layout.row), dtype=torch.bool, device=images.device)
        near[batch.near] = True
        near = near | near[layout.swapped]
        # Which of two that do not meet would be in front is still told, far below any threshold.
        occlusion = torch.where(near, occlusion, occlusion.clamp(-8, 8) + FAR)
        asked = layout.place(batch.rank[layout.row], batch.rank[layout.col])
        return MaskOrderOutput(occlusion[asked], depth[asked], log_depth, near[asked], layout)
