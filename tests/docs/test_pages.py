"""Every line of code of the documentation's own pages runs, in the order of the page.

What a reader brings (photographs, a detector, weights to download) is replaced by something small;
what takes long is made shorter, as the tables below say. Printed output is compared.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import occ_order
from occ_order import scenes
from occ_order.cli import main
from occ_order.files import load_image
from occ_order.formats.convert import DataSet, write_dataset
from occ_order.formats.given import as_instances

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
COFFEE = ROOT / "demo" / "coffee"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

SHORTER = {
    "--train 2000 --val 100 --workers 2": "--train 3 --val 2 --long-side 96",
    "--sheet-scenes 12": "--sheet-scenes 1 --long-side 96",
    "SOLVER.MAX_ITER 300": "",
    "--address auto --device cuda": "",
}
"""What is made quicker than a page says."""

REGISTERED = ("train", "eval", "validate")
"""Verbs that take names of data sets."""

FEW = {
    "SOLVER.MAX_ITER": 1,
    "SOLVER.IMS_PER_BATCH": 1,
    "INPUT.MIN_SIZE_TRAIN": "(96, 96)",
    "INPUT.MIN_SIZE_TEST": 96,
}
"""Settings of every training of a page."""


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, code) of every block of a page with a language, in order."""
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def words_of(command: str) -> list[str]:
    """The words of a command of a page, made shorter."""
    for long, short in SHORTER.items():
        command = command.replace(long, short)
    words = shlex.split(os.path.expandvars(command))
    words = [str(ROOT / w) if w.startswith(("configs/", "occ_order/")) else w for w in words]
    if words[1] == "train":
        words += [str(word) for setting in FEW.items() for word in setting]
    if words[1] == "annotate":  # asks until it is stopped: only the files, here
        words.append("--write")
    return words


def run_command(command: str) -> str:
    """Run one command of `occ-order` in this process; return what it printed."""
    words, said = words_of(command), io.StringIO()
    assert words[0] == "occ-order"
    if words[1] in REGISTERED:
        register_anew()
    with contextlib.redirect_stdout(said):
        status = main(words[1:])
    assert status == 0, command
    return said.getvalue()


def run_python(code: str, names: dict) -> str:
    """Run a block of Python; return what it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "page", "exec"), names)
    return said.getvalue()


def lines_of(text: str) -> list[str]:
    """Lines without how wide their gaps are."""
    return [" ".join(line.split()) for line in text.splitlines()]


def run_page(page: str, after: dict[str, object] | None = None, names: dict | None = None) -> dict:
    """Run every block of a page.

    Args:
        page: below docs/.
        after: what is called after the command that has a word in it.
        names: what Python knows from the start.

    Returns:
        What Python knows in the end.
    """
    names, printed = names or {}, ""
    for language, code in blocks(page):
        if language == "python":
            printed = run_python(code, names)
        elif language == "bash":
            printed = ""
            for line in code.splitlines():
                printed += run_command(line)
                for word, call in (after or {}).items():
                    if f" {word} " in line:
                        call(line)
        elif language == "text":
            missing = [line for line in lines_of(code) if line not in lines_of(printed)]
            assert not missing, f"{missing}\nare not in\n{printed}"
        else:
            raise AssertionError(f"{page}: nothing runs a block of {language}")
    return names


DATA = os.getenv("DETECTRON2_DATASETS", "datasets")


def register_anew() -> None:
    """Register the data sets below $DETECTRON2_DATASETS, as a new process would.

    Those that other tests have registered, in folders of other names, stay.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from occ_order.formats import builtin

    for name, known in list(builtin._registered.items()):
        if any(
            "datasets" in Path(path).parts or str(path).startswith(DATA) for path in known["paths"]
        ):
            del builtin._registered[name]
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
    builtin.register_all(os.getenv("DETECTRON2_DATASETS", "datasets"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with demo/astronaut, demo/coffee and photo.jpg, where a page's commands run."""
    for name in ("astronaut", "coffee"):
        shutil.copytree(ROOT / "demo" / name, tmp_path / "demo" / name)
    shutil.copy(COFFEE / "coffee.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    yield tmp_path
    if "occ_order.formats.builtin" in sys.modules:
        monkeypatch.undo()
        register_anew()


def coffee_masks() -> np.ndarray:
    """bool (4, H, W): cup, spoon, saucer, table."""
    image = load_image(COFFEE / "coffee.jpg")
    return as_instances(COFFEE / "coffee.json", image.shape[:2]).modal


@pytest.fixture
def pretend(monkeypatch):
    """Puts a module in the place of a library whose weights would have to be downloaded."""

    def put(name: str, **members):
        module = types.ModuleType(name)
        for key, value in members.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)

    return put


def test_every_page_of_how_to_is_run():
    """Each has a test below, by its name."""
    tests = Path(__file__).read_text(encoding="utf-8")
    pages = [path.relative_to(DOCS).as_posix() for path in (DOCS / "howto").glob("*.md")]
    assert len(pages) == 8
    assert [page for page in pages if f'"{page}"' not in tests] == []


def test_the_examples_of_the_concepts_print_what_they_show():
    examples = [code for language, code in blocks("concepts/arrays.md") if language == "pycon"]
    parsed = doctest.DocTestParser().get_doctest("\n".join(examples), {}, "arrays.md", None, 0)
    said = io.StringIO()
    runner = doctest.DocTestRunner()
    runner.run(parsed, out=said.write)
    assert runner.summarize(verbose=False).attempted > 15
    assert said.getvalue() == ""


def test_a_first_photograph(place):
    names = run_page("first_photograph.md")
    assert Path("order.png").stat().st_size > 0
    assert len(list(Path("output/coffee").glob("*/layers/layer_*.png"))) == 4
    assert names["hidden"][2].sum() > 1000 and not names["hidden"][0].any()


def test_the_photographs_of_the_zoo(place):
    run_page("zoo.md")
    written = json.loads(Path("output/astronaut/order_results.json").read_text())
    assert len(written["images"][0]["instances"]) == 5


def test_many_machines(place, monkeypatch):
    """Ray, which has tests of its own, is replaced by this process."""
    from occ_order.engine import on_ray

    def spread(parts, build, **options):
        return enumerate(map(build(), parts)) if parts else iter(())

    monkeypatch.setattr(on_ray, "spread", spread)
    Path("IMAGES").mkdir()
    shutil.copy(COFFEE / "coffee.jpg", "IMAGES/coffee.jpg")
    results, seen = Path("RESULTS"), []

    def begin_anew(line):
        seen.append((results / "order_results.json").read_bytes())
        shutil.rmtree(results)

    run_page("howto/many_machines.md", {"score": begin_anew})
    assert [(results / "order_results.json").read_bytes()] == seen


def test_a_network_without_this_package(place):
    """The example runs where neither this package nor PyTorch can be imported."""
    for library in ("onnx", "onnxruntime"):
        pytest.importorskip(library)
    (_, command), (_, example), (_, of_pairs) = blocks("howto/export.md")
    assert len(example.splitlines()) <= 30
    run_command(command.strip())
    labels = (coffee_masks() * np.array([10, 20, 30, 40])[:, None, None]).max(axis=0)
    Image.fromarray(labels.astype(np.uint8)).save("labels.png")
    missing = (
        "import sys\nfor name in ('occ_order', 'torch', 'detectron2'): sys.modules[name] = None\n"
    )

    def run():
        alone = [sys.executable, "-c", missing + example]
        done = subprocess.run(alone, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    done = run()
    said = [
        re.fullmatch(r"(\d+) (occludes|is closer than) (\d+).*", x)
        for x in done.stdout.splitlines()
    ]
    assert said and all(said) and {int(one[1]) for one in said} <= {10, 20, 30, 40}
    pairs = {frozenset((one[1], one[3])) for one in said if one[2] == "is closer than"}
    assert len(pairs) == sum(one[2] == "is closer than" for one in said)  # one direction of each
    Image.fromarray(np.zeros_like(labels, np.uint8)).save("labels.png")
    assert run().stdout == ""
    run_command(of_pairs.strip())
    import onnxruntime

    network = onnxruntime.InferenceSession("exported_pairs/network.onnx")
    names = [one.name for one in network.get_outputs()]
    answers = network.run(names, {"masks": coffee_masks().astype(np.float32)})
    found = dict(zip(names, answers, strict=True))
    predictor = occ_order.OrderPredictor.from_zoo("instaorder_net_od_m_scenes", device="cpu")
    result = predictor(str(COFFEE / "coffee.jpg"), coffee_masks())
    assert np.array_equal(found["occlusion"], result.occlusion)
    assert np.array_equal(found["depth"], result.depth)
    assert found["occlusion_probability"] == pytest.approx(result.occlusion_prob, abs=1e-4)


def test_sam(place, pretend):
    masks = coffee_masks()
    part = np.zeros_like(masks[0])
    part[masks[0].nonzero()[0][:400], masks[0].nonzero()[1][:400]] = True  # a piece of the cup
    found = [
        {"segmentation": m, "area": int(m.sum()), "predicted_iou": 0.9, "bbox": [0, 0, 1, 1]}
        for m in [*masks, part]
    ]
    sam = types.SimpleNamespace(generate=lambda image: list(found))
    pretend(
        "segment_anything",
        SamAutomaticMaskGenerator=lambda model, **options: sam,
        sam_model_registry={"vit_b": lambda checkpoint: None},
    )
    (place / "sam" / "photo").mkdir(parents=True)
    for k, mask in enumerate(masks):
        cv2.imwrite(str(place / "sam" / "photo" / f"{k}.png"), mask.astype(np.uint8) * 255)
    names = run_page("howto/sam.md")
    assert len(names["masks"]) == 5 and len(names["result"]) == 4
    assert names["result"].occlusion.sum() == 6
    written = json.loads(Path("output/sam/order_results.json").read_text())
    assert len(written["images"][0]["instances"]) == 4


def test_other_detectors(place, pretend, monkeypatch):
    torch = pytest.importorskip("torch")
    structures = pytest.importorskip("detectron2.structures")
    from occ_order.detectors import of_torchvision, registry
    from occ_order.detectors.detector import Detector as Built

    masks = coffee_masks()
    stand_in = Built(lambda pixels, name: masks, "a stand-in for torchvision's Mask R-CNN")
    monkeypatch.setattr(of_torchvision, "build", lambda *arguments: stand_in)
    registry._built.cache_clear()
    scores = torch.tensor([0.9, 0.9, 0.9, 0.9])

    class Weights:
        DEFAULT = types.SimpleNamespace(transforms=lambda: lambda photo: photo)

    class Detector:
        def eval(self):
            return self

        def __call__(self, photos):
            soft = torch.from_numpy(masks).float()[:, None] * 0.9
            boxes = torch.zeros(4, 4)
            return [{"masks": soft, "scores": scores, "labels": torch.arange(4), "boxes": boxes}]

    pretend(
        "torchvision.models.detection",
        MaskRCNN_ResNet50_FPN_V2_Weights=Weights,
        maskrcnn_resnet50_fpn_v2=lambda weights: Detector(),
    )
    instances = structures.Instances(masks.shape[1:])
    instances.pred_masks, instances.scores = torch.from_numpy(masks), scores
    instances.pred_classes = torch.arange(4)
    found = {"instances": instances}
    pretend("detectron2.engine", DefaultPredictor=lambda cfg: lambda image: found)
    padded = torch.nn.functional.pad(torch.from_numpy(masks).float(), (0, 0, 100, 100))
    results = types.SimpleNamespace(
        masks=types.SimpleNamespace(data=padded),  # of an input of 600 x 600
        boxes=types.SimpleNamespace(conf=scores, cls=torch.arange(4).float()),
        names={k: name for k, name in enumerate(("cup", "spoon", "saucer", "table"))},
        orig_shape=masks.shape[1:],
    )
    pretend("ultralytics", YOLO=lambda weights: lambda photo: [results])
    (place / "photos").mkdir()
    shutil.copy(COFFEE / "coffee.jpg", place / "photos")
    given = occ_order.OrderedInstances(1, masks.shape[1:], masks, file_name="coffee.jpg")
    (place / "found.json").write_text(json.dumps(given.to_coco()), encoding="utf-8")
    run_page("howto/detector.md", names={"found_by_photo": {"photo.jpg": masks}})
    (result,) = occ_order.load_all("orders.json")
    assert len(result) == 4 and result.occlusion.sum() == 6
    for folder in ("orders", "found"):
        written = json.loads(Path("output", folder, "order_results.json").read_text())
        assert len(written["images"][0]["instances"]) == 4
    registry._built.cache_clear()


def test_scoring(place):
    run_page("howto/score.md")
    assert Path("output/methods.png").stat().st_size > 0


def write_boxes(folder: Path) -> None:
    """Ten images with two boxes each, with masks as a COCO file."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, 11):
        image = np.full((120, 160, 3), 20 * number, np.uint8)
        for k, (x0, y0, x1, y1) in enumerate([(10, 10, 50, 50), (80, 40, 120, 80)]):
            image[y0:y1, x0:x1] = 250 - 60 * k
            corners = [x0, y0, x1, y0, x1, y1, x0, y1]
            own = {"id": 10 * number + k, "image_id": number, "category_id": 1 + k, "iscrowd": 0}
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append({**own, "segmentation": [corners], "bbox": box, "area": 1600})
        name = f"{number:02d}.png"
        cv2.imwrite(str(folder / "images" / name), image)
        images.append({"id": number, "file_name": name, "height": 120, "width": 160})
    categories = [{"id": 1, "name": "left"}, {"id": 2, "name": "right"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(data), encoding="utf-8")


def test_a_domain_of_your_own(place):
    pytest.importorskip("detectron2")
    write_boxes(place / "photos")
    shutil.copy(COFFEE / "coffee.json", place / "photo.json")
    run_page("howto/own_domain.md")
    assert Path("output/look.png").stat().st_size > 0
    results = json.loads(Path("output/kitchen/order_results.json").read_text())
    assert len(results["images"][0]["instances"]) == 4
    assert Path("output/completion/model_final.pth").is_file()


def test_from_annotation_to_a_trained_model(place):
    pytest.importorskip("detectron2")
    for split in ("train", "val"):
        shutil.copytree(COFFEE, place / "photos" / split)

    def answered(line: str) -> None:
        """Nobody answers in a test: the order of demo/coffee stands for the answers."""
        folder = shlex.split(line)[-1]
        source = f"photos/{folder.rsplit('_', 1)[1]}"
        convert = f"convert --from labelme --input {source} --classes cup,spoon,saucer,table"
        shutil.rmtree(folder)
        assert main([*convert.split(), "--to", "instaorder", "--output", folder]) == 0

    run_page("howto/annotate.md", after={"annotate": answered})
    assert Path("output/kitchen/model_final.pth").is_file()
    assert Path("output/kitchen/view.html").stat().st_size > 20_000


def test_the_order_head(place, make_records):
    """The YAML lines on a small Mask R-CNN; the Python lines build a configuration."""
    pytest.importorskip("detectron2")
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(scenes.CLASSES)]
    for split in ("train", "val"):
        drawn = DataSet(make_records(place / split, 2), categories, str(place / split))
        folder = place / "datasets" / "own" / "boxes" / split
        write_dataset("instaorder", drawn, folder)
        shutil.copytree(place / split, folder / "images")
    page = blocks("howto/order_head.md")
    first, frozen = (code for language, code in page if language == "yaml")
    train, predict = next(code for language, code in page if language == "bash").splitlines()
    python = [code for language, code in page if language == "python"]

    base = ROOT / "configs" / "Base-MaskRCNN-Mini-FPN.yaml"
    small = (
        f"_BASE_: {base}\n"
        "MODEL: {DEVICE: cpu, ROI_HEADS: {NUM_CLASSES: 12}}\n"
        "DATASETS: {TRAIN: [own_boxes_train_instaorder], TEST: [own_boxes_val_instaorder]}\n"
    )
    Path("MY_MASK_RCNN.yaml").write_text(small, encoding="utf-8")
    Path("WITH_ORDER.yaml").write_text(first, encoding="utf-8")
    save_detector("MY_MASK_RCNN.yaml", "MY_MASK_RCNN.pth")
    run_command(train)
    run_command(predict)
    results = json.loads(Path("output/found/order_results.json").read_text())
    assert "occlusion" in results["images"][0]

    from occ_order.config import load_cfg
    from occ_order.model_zoo.models import build

    Path("frozen.yaml").write_text("_BASE_: WITH_ORDER.yaml\n" + frozen, encoding="utf-8")
    model = build(load_cfg("frozen.yaml"))
    trained = {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"order_head"}

    names: dict = {}
    run_python(python[0], names)
    assert names["cfg"].MODEL.RESNETS.DEPTH == 101
    import torch

    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    run_python(python[1], {"model": model.eval(), "image": image})
    lazy: dict = {}
    run_python(python[2], lazy)
    assert lazy["cfg"].model.roi_heads.order_head.input_shape.p2.stride == 4


def save_detector(config: str, path: str) -> None:
    """Weights of a detector without an order head."""
    import torch

    from occ_order.config import load_cfg
    from occ_order.model_zoo.models import build

    torch.save({"model": build(load_cfg(config)).state_dict()}, path)
