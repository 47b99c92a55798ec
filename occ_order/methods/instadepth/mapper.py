"""Dataset mapper of disparity networks: images with instances and pairs, or alone (DIW, KITTI)."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable

from occ_order.formats.kitti_depth import kb_crop
from occ_order.methods.common.pair_mapper import PairMapper
from occ_order.methods.common.reading import read_image, to_tensor
from occ_order.methods.common.registry import MAPPER_REGISTRY


@MAPPER_REGISTRY.register()
class DisparityMapper(PairMapper):
    """`PairMapper` that also accepts records without annotations (DIW, KITTI).

    Such records are mapped to `image` (uint8 (3, H, W)), `height`, `width`, `image_id` and
    `file_name`, without augmentation and at the original size.
    """

    @configurable
    def __init__(self, is_train: bool, *, crop: bool = False, **options) -> None:
        """Initialise the mapper.

        Args:
            is_train: see `PairMapper`.
            crop: crop images without annotations to the KITTI benchmark crop
                (`occ_order.formats.kitti_depth.kb_crop`); `height` and `width` are then the crop's.
            options: arguments of `PairMapper`.
        """
        super().__init__(is_train, **options)
        self.crop = crop

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict[str, Any]:
        """Read INPUT.KB_CROP and the keys of `PairMapper`."""
        return {**super().from_config(cfg, is_train), "crop": cfg.INPUT.KB_CROP}

    def __call__(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Map a record; return None for a training image without pairs.

        Raises:
            ValueError: the image is invalid or smaller than the crop; names the file.
        """
        if "annotations" in record:
            return super().__call__(record)
        image = read_image(record, self.image_format)
        if self.crop:
            try:
                image = kb_crop(image)
            except ValueError as error:
                raise ValueError(f"{record['file_name']}: {error}") from error
        result: dict[str, Any] = {
            key: record[key] for key in ("image_id", "file_name") if key in record
        }
        height, width = image.shape[:2]
        return {**result, "image": to_tensor(image), "height": height, "width": width}
