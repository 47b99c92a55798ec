"""Occlusion and depth order of input masks: the sum of the logits of two branches.

* `OutlineBranch` uses the masks only. A small CNN (`ViewNet`) encodes two crops of the masks of
  every near pair: one of both instances, one of their contact.
* `ImageBranch` passes the image through a backbone once (`ImageMaps`), and pools its features and a
  map of relative depth over each instance and over the contact of each pair.

Either branch ends in a `PairRelation` (message passing between the pairs of an image), which
returns the logits of all pairs, and either can be trained and used alone. Every ordered pair (a, b)
is computed with the same weights as (b, a), so exchanging two instances transposes the output.

Two instances are *near* if some of their pixels are within the contact radius; their *contact* is
the set of cells of one instance within that radius of the other. A *view* is a square crop of the
masks of a pair, resized to S x S.

Shapes: I images, M instances of all images, Q ordered pairs with the diagonal, P unordered near
pairs, S the side of a view, H x W pixels of the padded batch, h x w cells of `STRIDE` pixels, D
channels.
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
from occ_order.methods.mask_order.disparity import STRIDE

VIEW_MAPS = 4
"""Channels of a view: first instance, second instance, other instances, inside of the image."""

DEPTH_CUES = 3
"""Depth features of a pair: difference of the means, of those at the contact, at the lower ends."""


def conv(in_channels: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution without bias, batch normalisation and ReLU; He initialisation."""
    layer = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class ImageMaps(nn.Module):
    """Feature pyramid of an image for the order of its instances, and a map of relative depth.

    The maps of a backbone are merged top-down to stride 4, and features of the outlines of all
    masks are concatenated there.
    """

    def __init__(self, backbone: nn.Module, channels: dict[str, int], width: int) -> None:
        """Initialise the layers.

        Args:
            backbone: image (I, 3, H, W) -> {name: map}, as Detectron2's backbones.
            channels: {name: channels} of its maps of stride 4, 8, 16 and 32, in this order.
            width: D, channels of the returned maps.
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
        """Compute feature maps and relative depth.

        Args:
            images: float32 (I, 3, H, W), normalised; H and W are multiples of 32.
            cues: float32 (I, 4, H, W) of `occ_order.methods.common.order_map.mask_cues`.

        Returns:
            float32 features of stride 4 (I, D, h, w), features of stride 16 (I, D, H / 16, W / 16),
            and the logarithm of relative depth (I, 1, h, w), larger = farther.
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
    """A small residual network that encodes one view of a pair.

    Args:
        widths: channels of each stage. The stem and each stage but the first halve the resolution.
        out_channels: channels of the output.
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
        """Encode the views of near pairs as (first, second) and as (second, first).

        Args:
            masks: float32 (2, P, 4, S, S) of `occ_order.methods.mask_order.views.mask_views`.

        Returns:
            float32 (2, P, out_channels), >= 0.
        """
        return self.look(masks.flatten(0, 1)).unflatten(0, (2, -1))

    def look(self, masks: torch.Tensor) -> torch.Tensor:
        """Encode E views, float32 (E, 4, S, S), to float32 (E, out_channels)."""
        x = self.stages(self.stem(masks))
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return F.relu(self.out(pooled))


class _Stage(nn.Module):
    """Two 3 x 3 convolutions, the second one residual; the first has the stride."""

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
    """Output of the network for a batch.

    Attributes:
        occlusion: float32 (Q,), logit of "the first instance occludes the second"; `FAR` +- 8 for
            pairs that are not near.
        depth: float32 (Q, 3), logits of "the first instance is closer, farther, equally far".
        log_depth: float32 (I, 1, h, w), logarithm of relative depth, larger = farther; None without
            image branch.
        near: bool (Q,), whether the pair is near.
        layout: the ordered pairs that Q enumerates.
    """

    occlusion: torch.Tensor
    depth: torch.Tensor
    log_depth: torch.Tensor | None
    near: torch.Tensor
    layout: PairLayout


FAR = -20.0
"""Logit added to that of an occlusion between instances that are not near."""


@dataclass
class MaskBatch:
    """The masks of a batch, sorted into a canonical order within each image.

    Rounding errors depend on the row index in a matrix product. Sorting the instances by properties
    of their masks makes the output bitwise independent of the order of the input masks.

    Attributes:
        masks: bool (M, H, W).
        cover: float32 (M, h, w), share of a cell that each mask fills, in [0, 1].
        boxes: float32 (M, 4), x0, y0, x1, y1 in pixels, ends exclusive.
        size: float32 (M, 2), height and width in pixels of the image of each instance.
        contacts: contact cells of all ordered pairs.
        near: int64 (P,), indices into Q of the near pairs with first < second.
        layout: the ordered pairs that Q enumerates.
        rank: int64 (M,), index in the canonical order of each input instance.
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
        """Compute geometric features of each instance (M, 7) and of each pair (Q, 14), float32."""
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
    """Pad and stack the masks of a batch, sort them, and find the near pairs.

    Args:
        masks: for each image bool (n, height, width).
        sizes: height and width of each image, without padding.
        shape: H and W of the padded batch, multiples of `STRIDE`.
        radius: contact radius in cells.
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
    """Order of input masks from the masks alone.

    Args:
        view_sizes: S of the view of the whole pair and of the view of the contact.
        view_widths: `widths` of the two `ViewNet`.
        view_channels: `out_channels` of each `ViewNet`.
        hidden: D of `PairRelation`.
        rounds: rounds of message passing of `PairRelation`.
        pairs_at_once: near pairs in one pass of the `ViewNet` at test time, to limit memory.
        jitter: (shift, scale) of `views.jittered_squares`, random crops in training.
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
        """Compute logits of all ordered pairs: occlusion (Q,) and depth (Q, 3), float32."""
        instances, pairs = batch.geometry()
        return self.relation(instances, torch.cat([self._views(batch), pairs], 1), batch.layout)

    def _views(self, batch: MaskBatch) -> torch.Tensor:
        """Encode both views of each pair, float32 (Q, 2 * view_channels); 0 for pairs not near."""
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
        # The view of the whole pair is cropped from masks of half the resolution: pairs wider than
        # 2 S pixels are downsampled by more than that anyway.
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
    """Order of input masks from the image and the geometry of the masks.

    Args:
        maps: feature pyramid of the image.
        width: channels of its maps.
        hidden: D of `PairRelation`.
        rounds: rounds of message passing of `PairRelation`.
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
        """Compute the logits of all ordered pairs, and the map of relative depth.

        Args:
            images: float32 (I, 3, H, W), normalised; H and W are multiples of 32.
            cues: float32 (I, 4, H, W) of `occ_order.methods.common.order_map.mask_cues`.
            batch: the masks, of the same padded size H x W.

        Returns:
            float32 logits of occlusion (Q,) and depth (Q, 3), and the logarithm of relative depth
            (I, 1, h, w), larger = farther.
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
    """Pool log depth: means of instances (M, 1), differences of pairs (Q, `DEPTH_CUES`).

    Both float32; differences are first minus second.
    """
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
    """Return `cover` (M, h, w) with 0 above the lowest 15 % of the height of each instance.

    The lower end of an object that stands on the ground is at the depth of the ground there.
    """
    height = cover.shape[1]
    rows = torch.arange(height, device=cover.device, dtype=torch.float32)
    filled = cover.amax(2) > 0
    bottom = torch.where(filled, rows, -1.0).amax(1, keepdim=True)
    top = torch.where(filled, rows, float(height)).amin(1, keepdim=True)
    return cover * (rows >= bottom - 0.15 * (bottom - top))[:, :, None]


class MaskOrderNetwork(nn.Module):
    """Order network for input masks, with one branch or both; see the module.

    Args:
        outlines: branch of the masks; None = image branch only.
        image: branch of the image; None = outline branch only.
        contact_radius: distance in cells of `STRIDE` pixels up to which two instances are near.
        image_weights: factors of the logits of occlusion and of depth of the image branch; ignored
            without the outline branch.

    Raises:
        ValueError: both branches are None.
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
            masks: for each image bool (n, height, width), the input masks.

        Returns:
            Logits in the order of the input masks.
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
        # Pairs that are not near are far below any threshold, but their logits still rank the two
        # directions.
        occlusion = torch.where(near, occlusion, occlusion.clamp(-8, 8) + FAR)
        asked = layout.place(batch.rank[layout.row], batch.rank[layout.col])
        return MaskOrderOutput(occlusion[asked], depth[asked], log_depth, near[asked], layout)
