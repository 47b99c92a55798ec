"""From a record of a data set to the input of a network: one mapper for each kind of network.

`cfg.INPUT.MAPPER` names one in `MAPPER_REGISTRY`; it is called with `(cfg, is_train)` and the
result with a record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from fvcore.common.registry import Registry

from occ_order.data.mappers.reading import check_picture

MAPPER_REGISTRY = Registry("MAPPER")
MAPPER_REGISTRY.__doc__ = "Dataset mappers, each `@configurable` with `from_config(cfg, is_train)`."

Mapper = Callable[[dict[str, Any]], dict[str, Any]]


def build_mapper(cfg: CfgNode, *, is_train: bool) -> Mapper:
    """The mapper that `cfg.INPUT.MAPPER` names; `CheckedMapper` for "".

    Raises:
        KeyError: no mapper has that name.
    """
    name = cfg.INPUT.MAPPER
    return MAPPER_REGISTRY.get(name)(cfg, is_train) if name else CheckedMapper(cfg, is_train)


class CheckedMapper(DatasetMapper):
    """Detectron2's own mapper, for images of the formats that are read everywhere here.

    Detectron2 reads whatever Pillow knows, and some of Pillow's readers start programs.
    """

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """As Detectron2's.

        Raises:
            UnreadablePictureError: the file is missing, of another format or damaged.
        """
        check_picture(dataset_dict)
        return super().__call__(dataset_dict)


# The mappers register themselves; they need the registry above.
from occ_order.data.mappers import (  # noqa: E402
    completion,
    depth,
    instances,
    layering,
    mask_order,
    oosis,
    pairs,
    partly_labelled,
)

__all__ = [
    "MAPPER_REGISTRY",
    "Mapper",
    "build_mapper",
    "completion",
    "depth",
    "instances",
    "layering",
    "mask_order",
    "oosis",
    "pairs",
    "partly_labelled",
]
