"""Files of SA-1B, the data set of Segment Anything: one JSON file for each image.

    {"image": {"image_id": 2, "width": 1500, "height": 2250, "file_name": "sa_2.jpg"},
     "annotations": [{"id": 5, "segmentation": RLE, "predicted_iou": 0.9, "stability_score": 0.98,
                      "area": 1200, "bbox": [...], "crop_box": [...], "point_coords": [...]}]}

`predicted_iou` becomes the score. There are no classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from occ_order.formats.checks import Report, field
from occ_order.formats.coco_order import entries_of
from occ_order.formats.pages import UNNAMED, Page, Tolerance, gathered
from occ_order.formats.stored_json import StoredList
from occ_order.instances import OrderedInstances


def is_sa_1b(data: dict[str, Any], keys: set[str]) -> bool:
    """Return whether parsed JSON is of the layout."""
    annotations = data.get("annotations")
    return isinstance(data.get("image"), dict) and isinstance(annotations, list | StoredList)


def sa_1b_pages(path: Path, data: dict[str, Any]) -> list[Page]:
    """Return what a file says of its image.

    Raises:
        ValueError: names the file; "image" lacks its size.
    """
    image = data["image"]
    with Report(path).at("image"):
        size = tuple(field(image, key, "a positive integer") for key in ("height", "width"))
        name = field(image, "file_name", "a string", "")

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        entries = entries_of(data["annotations"], "annotation", size)
        return gathered(path, size, entries, tolerance)

    number = image.get("image_id")
    known = type(number) is int or (isinstance(number, str) and number)
    return [Page(name, read, number if known else UNNAMED, size)]
