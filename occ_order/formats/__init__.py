"""One module per file format; each has a reader (file -> records) and a writer (records -> file).

A record is Detectron2's standard dictionary of an image, extended by order matrices:

    {"file_name": str, "image_id": int, "height": int, "width": int,
     "annotations": [{"id": int, "category_id": int, "bbox": [x0, y0, x1, y1],
                      "segmentation": MODAL mask (RLE or polygons), "iscrowd": 0,
                      "amodal_segmentation"?: RLE or polygons, "amodal_bbox"?: [x0, y0, x1, y1],
                      "is_stuff"?: 0 or 1, "occlude_rate"?: float, "name"?: str,
                      "complete"?: str}],
     "occlusion"?: int8 (N, N), "depth"?: int8 (N, N), "overlap"?: int8 (N, N),
     "count"?: int16 (N, N),
     "depth_file_name"?: str, "depth_unit"?: float}

Row and column k of every matrix belong to `annotations[k]`; the values are defined in
`occ_order.order.encoding`. Keys that a data set does not provide are absent, never zero. Boxes are
in pixels, right and bottom exclusive; `bbox` encloses the modal mask where the format defines it.
`category_id` is the id in the file.
"""

from occ_order.files import DataError
from occ_order.formats.coco_nesting import read_categories
from occ_order.formats.cocoa import load_cocoa, save_cocoa
from occ_order.formats.cocoa_cls import load_cocoa_cls, save_cocoa_cls
from occ_order.formats.diw import load_diw, save_diw
from occ_order.formats.instaorder import load_instaorder, save_instaorder
from occ_order.formats.kins import load_kins, save_kins
from occ_order.formats.kitti_depth import (
    load_kitti_depth,
    read_depth_png,
    save_kitti_depth,
    write_depth_png,
)
from occ_order.formats.photos import load_photos, read_depth, read_photo_categories, save_photos

__all__ = [
    "DataError",
    "load_cocoa",
    "load_cocoa_cls",
    "load_diw",
    "load_instaorder",
    "load_kins",
    "load_kitti_depth",
    "load_photos",
    "read_categories",
    "read_depth",
    "read_depth_png",
    "read_photo_categories",
    "save_cocoa",
    "save_cocoa_cls",
    "save_diw",
    "save_instaorder",
    "save_kins",
    "save_kitti_depth",
    "save_photos",
    "write_depth_png",
]
