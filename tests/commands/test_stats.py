"""`occ-order stats`."""

from __future__ import annotations

import json

import numpy as np
from detectron2.data import DatasetCatalog

from occ_order.cli import main
from occ_order.masks import encode


def test_statistics_of_a_registered_data_set(monkeypatch, tmp_path, capsys):
    mask = encode(np.ones((4, 4), bool))
    record = {
        "image_id": 1,
        "height": 4,
        "width": 4,
        "annotations": [{"id": k, "segmentation": mask} for k in range(2)],
        "occlusion": np.array([[0, 1], [1, 0]]),
    }
    monkeypatch.setitem(DatasetCatalog.data, "two", lambda: [record])
    files = [tmp_path / "a.json", tmp_path / "a.png"]
    done = main(["stats", "two", "--json", str(files[0]), "--plot", str(files[1])])
    assert done == 0 and "| both | 100.0 % |" in capsys.readouterr().out
    assert json.loads(files[0].read_text())["meeting"]["modal"]["overlapping"] == 1
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_a_data_set_that_does_not_exist_is_named(capsys):
    assert main(["stats", "nothing_of_that_name"]) == 2
    assert "no data set 'nothing_of_that_name'" in capsys.readouterr().err
