"""Sheets about data and about results, and the commands that draw them."""

import json

import pytest
from PIL import Image

from occ_order.cli import main
from occ_order.draw.sheets import safe_stem, sheet
from occ_order.formats.convert import DataSet, write_dataset
from occ_order.formats.layered_image import load_layers


@pytest.fixture
def files(records, categories, tmp_path):
    """Results and annotation of two images: arguments that name them."""
    data = DataSet(records, categories, str(tmp_path / "images"))
    (results,) = write_dataset("results", data, tmp_path / "run")
    (truth,) = write_dataset("cocoa", data, tmp_path / "gt")
    return results, truth


def test_a_sheet_without_a_panel_is_its_title():
    assert sheet({}, title="nothing").shape[2] == 3


@pytest.mark.parametrize("name", ["../../etc/x.png", "C:\\a\\b.jpg", "\u4e2d \u00fc.png", "", "."])
def test_file_names_are_made_harmless(name):
    stem = safe_stem(7, name)
    assert stem.startswith("00007") and set(stem) <= set(
        "0123456789_-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )


def test_drawing_results(files, tmp_path, capsys):
    results, truth = files
    out = tmp_path / "out"
    arguments = ["--results", str(results), "--images", str(tmp_path / "images"),
                 "--output", str(out), "--gt", str(truth), "--gt-format", "cocoa",
                 "--panels", "overlay,check"]  # fmt: skip
    assert main(["report", "results", *arguments, "--layers"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "00000_image_1", "00000_image_1.png", "00001_image_2", "00001_image_2.png",
    ]  # fmt: skip
    layers = load_layers(out / "00000_image_1")
    assert layers[-1].info["kind"] == "background"
    assert (out / "00000_image_1" / "occlusion.graphml").is_file()
    assert "files:" in capsys.readouterr().out
    assert main(["report", "results", *arguments, "--separate", "--limit", "1"]) == 0
    assert (out / "00000_image_1_check.png").is_file()
    assert not (out / "00001_image_2_check.png").exists()


def test_drawing_a_data_set_from_its_files(files, tmp_path, capsys):
    _, truth = files
    arguments = ["--from", "cocoa", "--input", str(truth), "--images", str(tmp_path / "images")]
    out = tmp_path / "out"
    assert (
        main(["report", "data", *arguments, "--output", str(out), "--panels", "amodal,boundary"])
        == 0
    )
    assert "2 images" in capsys.readouterr().out
    with Image.open(out / "00001_image_2.png") as drawn:
        assert min(drawn.size) > 100


def test_drawing_a_registered_data_set(files, tmp_path, capsys):
    pytest.importorskip("detectron2")
    from occ_order.formats.builtin import register_cocoa

    name = "visualize_data_test"
    register_cocoa(name, files[1], tmp_path / "images")
    try:
        out = tmp_path / "out"
        assert (
            main(
                [
                    "report",
                    "data",
                    "--dataset",
                    name,
                    "--output",
                    str(out),
                    "--limit",
                    "1",
                    "--panels",
                    "amodal",
                ]
            )
            == 0
        )
        assert [path.name for path in out.iterdir()] == ["00000_image_1.png"]
        assert main(["report", "data", "--dataset", "no_such_data", "--output", str(out)]) == 2
        assert "no data set is called 'no_such_data'" in capsys.readouterr().err
    finally:
        from detectron2.data import DatasetCatalog, MetadataCatalog

        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "x"], "give either --dataset NAME or --from FORMAT"),
        (["--output", "x", "--from", "cocoa"], "--from needs --input"),
        (["--output", "x", "--dataset", "a", "--panels", "b"], "no such panels: b"),
    ],
)
def test_wrong_options_are_explained(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", "data", *arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_results_that_do_not_fit_are_named(files, tmp_path, capsys):
    results, _ = files
    page = json.loads(results.read_text())
    page["images"][0]["file_name"] = "image 3.png"
    results.write_text(json.dumps(page))
    arguments = ["--results", str(results), "--images", str(tmp_path / "images")]
    assert main(["report", "results", *arguments, "--output", str(tmp_path / "out")]) == 2
    assert "image 1: no such image" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["report", "results", *arguments, "--output", "x", "--gt", str(results)])
    assert "--gt and --gt-format belong together" in capsys.readouterr().err
