"""Between the formats of data sets: everything passes through records.

    from occ_order.data.converters import read_dataset, write_dataset
    data = read_dataset("labelme", "my_folder")
    write_dataset("instaorder", data, "output")

What a format has no place for is found by reading the written files again
(:mod:`~occ_order.data.converters.differences`), reported, and refused where the files would say
something else than before. ``python tools/convert_dataset.py`` is the same as a command. Nothing
here needs PyTorch or Detectron2.
"""

from occ_order.data.converters.convert import (
    READABLE,
    WRITABLE,
    DataSet,
    check_pictures,
    convert,
    copy_pictures,
    read_dataset,
    write_dataset,
)
from occ_order.data.converters.differences import Differences, compare

__all__ = [
    "READABLE",
    "WRITABLE",
    "DataSet",
    "Differences",
    "check_pictures",
    "compare",
    "convert",
    "copy_pictures",
    "read_dataset",
    "write_dataset",
]
