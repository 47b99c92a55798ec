"""Results of several methods in one image."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from occ_order.cli import main
from occ_order.commands import figures
from occ_order.masks import encode

CURVE = {"recall": [0.1, 0.5], "accuracy": [0.9, 0.7]}
LOWER = {"recall": [0.1, 0.5], "accuracy": [0.5, 0.3]}


def oair(path, curve, decycled=None):
    kinds = ("by_iou", "by_confidence", "fine")
    data = {"curves": dict.fromkeys(kinds, curve), "decycled": []}
    if decycled:
        data["decycled"] = [dict.fromkeys(kinds, decycled)]
    path.write_text(json.dumps(data))
    return path


def test_curves_of_several_runs_share_a_plot_with_a_legend(tmp_path, monkeypatch):
    """OOSIS, Fig. 9: one line for each method."""
    seen = {}
    real = figures.draw_accuracy_recall
    monkeypatch.setattr(
        figures, "draw_accuracy_recall", lambda c, **o: seen.update(c) or real(c, **o)
    )
    one = oair(tmp_path / "a.json", CURVE)
    two = oair(tmp_path / "b.json", LOWER, CURVE)
    runs = ["--run", f"ours={one}", "--run", f"M-RCNN + OrderNet={two}"]
    out = tmp_path / "plot.png"
    assert main(["report", "curves", *runs, "--output", str(out)]) == 0
    assert list(seen) == ["ours", "M-RCNN + OrderNet"] and cv2.imread(str(out)) is not None
    seen.clear()
    assert main(["report", "curves", *runs, "--decycled", "--output", str(out)]) == 0
    assert list(seen) == ["ours", "M-RCNN + OrderNet", "M-RCNN + OrderNet, decycled"]
    styles = [curve["style"] for curve in seen.values()]
    assert styles == [(0, 0), (1, 0), (1, 1)]


def test_seeds_of_one_method_are_lines_of_one_colour_with_one_entry(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        figures, "draw_accuracy_recall", lambda c, **o: seen.update(c) or np.zeros((4, 4, 3), "u1")
    )
    one, two = oair(tmp_path / "a.json", CURVE), oair(tmp_path / "b.json", LOWER)
    runs = [f"--run=ours={one}", f"--run=area={two}", f"--run=ours={two}"]
    assert main(["report", "curves", *runs, "--output", str(tmp_path / "plot.png")]) == 0
    said = [(curve["accuracy"], curve["style"], curve["again"]) for curve in seen.values()]
    assert said == [
        (CURVE["accuracy"], (0, 0), False),
        (LOWER["accuracy"], (1, 0), False),
        (LOWER["accuracy"], (0, 0), True),
    ]


def test_another_file_than_a_curve_is_refused(tmp_path, capsys):
    (tmp_path / "a.json").write_text("{}")
    arguments = ["curves", "--run", f"a={tmp_path / 'a.json'}", "--output", str(tmp_path / "o.png")]
    assert main(["report", *arguments]) == 2
    assert "a.json: expected an oair.json" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["report", "curves", "--run", "nothing", "--output", "o.png"])


@pytest.fixture
def photograph(tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((40, 60, 3), 90, np.uint8))
    return tmp_path / "photo.png"


def results(path, occlusion, size=(40, 60)):
    masks = np.zeros((2, *size), bool)
    masks[0, 2:20, 2:20], masks[1, 20:38, 2:20] = True, True
    instances = [
        {"id": k + 1, "category_id": 1, "score": 1.0, "segmentation": encode(mask)}
        for k, mask in enumerate(masks)
    ]
    image = {"image_id": 7, "height": size[0], "width": size[1], "instances": instances}
    image["occlusion"] = occlusion
    path.write_text(json.dumps({"format": "occ_order/1", "images": [image]}))
    return path


def test_methods_stand_beside_the_photograph(tmp_path, photograph, monkeypatch):
    """OOSIS, Fig. 8: relative depth maps of the methods; InstaOrder, Fig. 6c: disparity maps."""
    seen = {}
    monkeypatch.setattr(
        figures, "sheet", lambda parts, **o: seen.update(parts) or np.zeros((4, 4, 3), np.uint8)
    )
    first = results(tmp_path / "a.json", [[0, 1, 0.9]])
    second = results(tmp_path / "b.json", [[1, 0, 0.9]])
    disparity = tmp_path / "midas.png"
    cv2.imwrite(str(disparity), np.full((40, 60), 7, np.uint8))
    arguments = ["methods", "--image", str(photograph), "--image-id", "7"]
    arguments += ["--result", f"MiDaS={disparity}", "--result", f"ours={first}"]
    arguments += ["--result", f"truth={second}", "--output", str(tmp_path / "o.png")]
    assert main(["report", *arguments]) == 0
    assert [part.heading for part in seen.values()] == ["photograph", "MiDaS", "ours", "truth"]
    _, _, ours, truth = (part.image for part in seen.values())
    assert ours.shape == truth.shape == (40, 60, 3)
    assert np.array_equal(ours[10, 10], truth[30, 10]) and (ours[10, 10] != truth[10, 10]).any()


@pytest.mark.parametrize(
    ("image_id", "size", "message"),
    [("8", (40, 60), "has no image '8'"), ("7", (20, 60), "is 20 x 60, the photograph 40 x 60")],
)
def test_results_of_another_image_are_refused(
    tmp_path, photograph, capsys, image_id, size, message
):
    masks = np.zeros((1, *size), bool)
    masks[0, :4, :4] = True
    instance = {"id": 1, "category_id": 1, "score": 1.0, "segmentation": encode(masks[0])}
    image = {"image_id": 7, "height": size[0], "width": size[1], "instances": [instance]}
    image["occlusion"] = []
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"format": "occ_order/1", "images": [image]}))
    arguments = ["methods", "--image", str(photograph), "--image-id", image_id]
    arguments += ["--result", f"ours={path}", "--output", str(tmp_path / "o.png")]
    assert main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.png").exists()
