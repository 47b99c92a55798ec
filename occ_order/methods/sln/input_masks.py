"""SLN and the amodal Mask R-CNN with input masks: what is hidden of instances that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances

from occ_order.methods.common.input_masks import input_instances, with_orders
from occ_order.methods.common.pair_crops import mask_boxes
from occ_order.methods.sln.decode import decode_instances
from occ_order.methods.sln.meta_arch import SemanticsLayeringNetwork


@META_ARCH_REGISTRY.register()
class InputMaskLayering(SemanticsLayeringNetwork):
    """SLN (or, without its GLM, an amodal Mask R-CNN) for input masks; not in the paper.

    Trained as `SemanticsLayeringNetwork`. At test time the regions are not those of the RPN: the
    box head turns the box of each modal mask into that of the amodal mask, and the mask head
    predicts the layers in it. The result is {"instances"} for each image: the input instances with
    `pred_amodal_masks` bool (N, H, W) and `occlusion`, -1 (unknown) for all pairs if the head has
    one level. An amodal mask is the modal mask, extended behind other input masks: what no mask
    covers would be visible, so it is not a hidden part. With an order network, the order is its
    order, and masks are extended behind its occluders alone.
    """

    requires_masks = accepts_masks = True  # read by `OrderPredictor`
    order: Callable[[np.ndarray, np.ndarray], dict[str, Any]] | None = None
    """(image uint8 (H, W, 3) RGB, masks bool (N, H, W)) -> {"instances"} with `occlusion`."""

    @torch.no_grad()
    def inference(
        self,
        batched_inputs: list[dict[str, Any]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[Any]:
        """Return the input instances with amodal masks; see the class docstring.

        Raises:
            ValueError: `detected_instances` are given, no postprocessing, or an input has no masks.
        """
        if detected_instances is not None or not do_postprocess:
            raise ValueError("the instances of InputMaskLayering are those of its inputs")
        given = [input_instances(one, self.device) for one in batched_inputs]
        images = self.preprocess_image(batched_inputs)
        _, features, _ = self._features(images)
        regions = self._regions(features, given)
        regions = self.roi_heads.forward_with_given_boxes(features, regions)
        parts = zip(batched_inputs, given, regions, strict=True)
        return [{"instances": self._completed(*part)} for part in parts]

    def _regions(
        self, features: dict[str, torch.Tensor], given: list[Instances]
    ) -> list[Instances]:
        """Return the amodal boxes, `pred_boxes`, that the box head makes of modal ones."""
        heads = self.roi_heads
        proposals = []
        for mine in given:
            one = Instances(mine.image_size)
            one.proposal_boxes = Boxes(mask_boxes(mine.pred_masks).float())
            proposals.append(one)
        maps = [features[name] for name in heads.box_in_features]
        pooled = heads.box_pooler(maps, [one.proposal_boxes for one in proposals])
        predictions = heads.box_predictor(heads.box_head(pooled))
        boxes = heads.box_predictor.predict_boxes(predictions, proposals)
        regions = []
        for mine, found in zip(given, boxes, strict=True):
            region = Instances(mine.image_size)
            # (N, 4 B): a box for each of B classes, or one for all of them.
            found = found.unflatten(1, (found.shape[1] // 4, 4))
            classes = mine.pred_classes.clamp(max=found.shape[1] - 1)
            region.pred_boxes = Boxes(found[torch.arange(len(mine)), classes])
            region.pred_boxes.clip(mine.image_size)
            region.pred_classes = mine.pred_classes
            regions.append(region)
        return regions

    def _completed(self, item: dict[str, Any], given: Instances, region: Instances) -> Instances:
        """Return the prediction of one image from the layers of its regions."""
        modal = given.pred_masks
        region.index = torch.arange(len(given), device=self.device)
        layers = decode_instances(region, *given.image_size, nms=1.0, **self.decoding)
        index = layers.index  # regions with an empty box are not among them
        order = torch.full((len(given), len(given)), -1, dtype=torch.int8, device=self.device)
        order.fill_diagonal_(0)
        if self.order is not None:
            order = self._order_of(item, modal)
        elif layers.has("occlusion"):
            order[index[:, None], index] = layers.occlusion.tensor.to(torch.int8)
        amodal = modal.clone()
        for row, mask in zip(index.tolist(), layers.pred_masks, strict=True):
            others = modal if self.order is None else modal[order[:, row] == 1]
            amodal[row] |= mask & others.any(0)
        fields = {"pred_amodal_masks": amodal, "occlusion": order}
        return with_orders(item, given, fields)

    def _order_of(self, item: dict[str, Any], modal: torch.Tensor) -> torch.Tensor:
        """Return the occlusion, int8 (N, N), that the order network predicts."""
        assert self.order is not None
        image = item["image"].permute(1, 2, 0).cpu().numpy()
        if self.input_format != "RGB":
            image = image[..., ::-1]
        found = self.order(np.ascontiguousarray(image), modal.cpu().numpy())["instances"]
        return found.occlusion.tensor.to(self.device, torch.int8)
