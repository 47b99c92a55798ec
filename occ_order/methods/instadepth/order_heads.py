"""Order heads of InstaDepthNet: a ResNet over two masks with image features added.

In Figure A3 of the supplement, the input of the head is the two masks. Image features of the
disparity encoder are added before each later stage. Thus the encoder runs once per image and only
the small head once per ordered pair.
"""

from __future__ import annotations

import torch
from detectron2.modeling.backbone.resnet import ResNet
from torch import Tensor, nn

from occ_order.methods.instadepth.disparity_net import STAGES

NUM_OUTPUTS = {"depth": 3, "occlusion": 2}
"""Number of outputs of each head; see `occ_order.methods.common.pair_labels`."""


class MaskOrderHead(nn.Module):
    """ResNet over the masks of an ordered pair; encoder features are added before res3 to res5.

    With e2, e3, e4 the encoder's features: m2 = res2(masks), m3 = res3(m2 + e2),
    m4 = res4(m3 + e3), m5 = res5(m4 + e4), followed by global average pooling and a linear layer.
    """

    def __init__(self, resnet: ResNet, num_outputs: int, encoder_shapes: dict) -> None:
        """Wrap a ResNet of two input channels.

        Args:
            resnet: ResNet with the four stages res2 to res5.
            num_outputs: outputs of the linear layer.
            encoder_shapes: ShapeSpec of each encoder feature.

        Raises:
            ValueError: the stages and the encoder differ in channels.
        """
        super().__init__()
        own = {name: resnet.output_shape()[name].channels for name in STAGES[:-1]}
        fed = {name: encoder_shapes[name].channels for name in STAGES[:-1]}
        if own != fed:
            raise ValueError(
                f"the stages of an order head have the channels {own}, but the encoder's features "
                f"that are added to them {fed}: set MODEL.DISPARITY.HEAD_DEPTH"
            )
        self.resnet = resnet
        self.predictor = nn.Linear(resnet.output_shape()[STAGES[-1]].channels, num_outputs)

    def forward(self, masks: Tensor, features: dict[str, Tensor]) -> Tensor:
        """Compute the logits of P ordered pairs.

        Args:
            masks: float (P, 2, H, W), 1 inside; first and second instance of the pair.
            features: encoder features res2, res3, res4 of the image of each pair, (P, C, h, w).

        Returns:
            float (P, num_outputs) logits.
        """
        x = self.resnet.stem(masks)
        for name, stage in zip(self.resnet.stage_names, self.resnet.stages, strict=True):
            x = stage(x)
            if name in STAGES[:-1]:
                x = x + features[name]
        return self.predictor(x.mean((-2, -1)))


def answer_pairs(
    heads: nn.ModuleDict,
    masks: Tensor,
    features: dict[str, Tensor],
    pairs: Tensor,
    image_index: Tensor,
) -> dict[str, Tensor]:
    """Compute the logits of all heads for ordered pairs.

    Args:
        heads: name -> `MaskOrderHead`.
        masks: bool (N, H, W) of all images, at the input size of the network.
        features: encoder features, each (B, C, h, w).
        pairs: int64 (P, 2), indices into `masks`.
        image_index: int64 (P,), index of the image of each pair.

    Returns:
        Name -> logits, float (P, outputs).
    """
    stack = masks[pairs].to(next(iter(features.values())).dtype)
    fed = {name: features[name][image_index] for name in STAGES[:-1]}
    return {name: head(stack, fed) for name, head in heads.items()}


@torch.no_grad()
def answer_in_chunks(
    heads: nn.ModuleDict, masks: Tensor, features: dict[str, Tensor], pairs: Tensor, chunk: int
) -> dict[str, Tensor]:
    """Compute `answer_pairs` for one image in chunks of `chunk` pairs; also for P = 0."""
    image_index = pairs.new_zeros(len(pairs))
    parts = [
        answer_pairs(heads, masks, features, some, where)
        for some, where in zip(pairs.split(chunk), image_index.split(chunk), strict=True)
        if len(some)
    ]
    return {
        name: torch.cat([part[name].float() for part in parts])
        if parts
        else masks.new_zeros((0, NUM_OUTPUTS[name]), dtype=torch.float32)
        for name in heads
    }
