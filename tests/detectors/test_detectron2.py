"""Detectron2's own models as they are, with made-up weights."""

from __future__ import annotations

from urllib.error import URLError

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

import detectron2.data.transforms as T  # noqa: E402
import iopath.common.download  # noqa: E402
from detectron2 import model_zoo as detectron2_zoo  # noqa: E402
from detectron2.config import LazyConfig, instantiate  # noqa: E402
from detectron2.modeling import META_ARCH_REGISTRY  # noqa: E402

from occ_order.config import load_cfg  # noqa: E402
from occ_order.detectors.registry import build_detector  # noqa: E402
from tests.detectors.made_up import made_up, probability  # noqa: E402

IMAGE = np.full((32, 48, 3), 80, np.uint8)
R50 = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
LAZY = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py"
BIASES = {"boxes": "roi_heads.box_predictor.cls_score.bias", "chosen": 16}
MASKS = "roi_heads.mask_head.predictor.bias"
DOG = "dog"


def without_weights(cfg):
    """A network that is built without memory for it."""
    with torch.device("meta"):
        return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Made-up weights of mask_rcnn_R_50_FPN, which its YAML and its LazyConfig share."""
    cfg = load_cfg(detectron2_zoo.get_config_file(R50), ["MODEL.DEVICE", "cpu"])
    state = made_up(without_weights(cfg).state_dict(), masks=MASKS, **BIASES)
    path = tmp_path_factory.mktemp("weights") / "made_up.pth"
    torch.save({"model": state}, path)
    return path


def finds_dogs(detector):
    """Whether a detector says what the weights say, on a small image."""
    detector.find.augmentations = T.AugmentationList([])
    found = detector(IMAGE)
    assert len(found) > 0 and set(found.names) == {DOG}
    assert np.allclose(found.scores, probability(81), atol=1e-4)
    return found.modal.shape[1:] == IMAGE.shape[:2]


def test_a_model_of_the_model_zoo_at_full_size(file, device):
    detector = build_detector(f"detectron2:{R50}", weights=file, device=device)
    (resize,) = detector.find.augmentations.augs
    assert (resize.short_edge_length, resize.max_size) == ([800, 800], 1333)
    assert detector.find.image_format == "BGR" and finds_dogs(detector)
    assert detector.about == (
        "Detectron2's mask_rcnn_R_50_FPN_3x (weights made_up.pth; trained on coco_2017_train, by "
        "its configuration)"
    )


def test_a_lazy_config_of_the_model_zoo(file, device):
    detector = build_detector(f"detectron2:{LAZY}", weights=file, device=device)
    assert detector.find.image_format == "BGR" and finds_dogs(detector)


def test_a_yaml_file_may_have_settings_of_another_project(file, device, tmp_path):
    config = tmp_path / "theirs.yaml"
    config.write_text(
        f"_BASE_: {detectron2_zoo.get_config_file(R50)}\n"
        f"MODEL: {{THEIRS: {{DEPTH: 3}}, WEIGHTS: {file}}}\n"
        "INPUT: {MIN_SIZE_TEST: 32}\n"
    )
    found = build_detector(config, score_threshold=0.9, device=device)(IMAGE)
    assert set(found.names) == {DOG}
    assert len(build_detector(config, score_threshold=0.999, device=device)(IMAGE)) == 0


BACKBONE = "WEIGHTS: detectron2://ImageNetPretrained/MSRA/R-50.pkl"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (f"MODEL: {{{BACKBONE}}}", r"c\.yaml: names weights of ImageNet alone \(detectron2://Im"),
        ("MODEL: {WEIGHTS: ''}", "names no weights: name a file with the detector's weights"),
        (
            "MODEL: {META_ARCHITECTURE: MaskFormer, WEIGHTS: w.pth}",
            "no network 'MaskFormer' is registered with Detectron2; import the project",
        ),
        ("MODEL: !!python/object/apply:os.mkdir [made]", "tags can run code and are rejected"),
        ("MODEL: {LOAD_PROPOSALS: True}", "precomputed proposals are pickles"),
        ("MODEL: {WEIGHTS: 'http://127.0.0.1:9/w.pth'}", "a config file may only use files and"),
    ],
)
def test_yaml_files_that_are_refused(tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(f"VERSION: 2\n{settings}\n")
    with pytest.raises(ValueError, match=message):
        build_detector("c.yaml")
    assert not (tmp_path / "made").exists()


def test_weights_that_do_not_fit(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "w.pth")
    tiny = "VERSION: 2\nMODEL: {RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64}}\n"
    (tmp_path / "c.yaml").write_text(tiny)
    with pytest.raises(ValueError, match="does not fit the model; missing: backbone.stem.conv1"):
        build_detector(tmp_path / "c.yaml", weights=tmp_path / "w.pth")
    with pytest.raises(FileNotFoundError, match=r"there is no file of weights .*none\.pth"):
        build_detector(tmp_path / "c.yaml", weights=tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("nothing.yaml", "nothing.yaml not available in Model Zoo! Names are such as detectron2:"),
        ("Base-RCNN-FPN", "Pretrained model for Base-RCNN-FPN.yaml is not available"),
        ("../setup.py", "no name of the Model Zoo"),
    ],
)
def test_names_that_the_model_zoo_has_not(config, message):
    with pytest.raises(ValueError, match=message):
        build_detector(f"detectron2:{config}")


def test_a_lazy_config_needs_a_model_and_data(tmp_path):
    (tmp_path / "c.py").write_text("model = dict(a=1)\n")
    with pytest.raises(ValueError, match=r"c\.py: a LazyConfig of a detector defines model, and"):
        build_detector(tmp_path / "c.py")


def test_without_a_network_one_sentence_says_where_the_weights_belong(tmp_path, monkeypatch):
    def fails(*args, **more):
        raise URLError("Name or service not known")

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(iopath.common.download.request, "urlretrieve", fails)
    with pytest.raises(FileNotFoundError) as caught:
        build_detector(f"detectron2:{R50}")
    inside = "detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600"
    assert str(caught.value) == (
        "the weights model_final_f10217.pkl cannot be downloaded (Name or service not known): get "
        f"https://dl.fbaipublicfiles.com/{inside}/model_final_f10217.pkl where there is a network "
        f"and put it at {tmp_path / inside / 'model_final_f10217.pkl'}, or name the file as the "
        "detector's weights"
    )


class Panoptic(torch.nn.Module):
    """Says what is told to it."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def forward(self, inputs):
        assert inputs[0]["image"].shape == (3, 32, 48) and inputs[0]["image"][0, 0, 0] == 7
        return [self.said]


def test_things_of_a_panoptic_map_are_instances_and_nothing_else_is():
    from occ_order.detectors.of_detectron2 import Finder

    ids = torch.zeros(32, 48, dtype=torch.int64)
    ids[:4], ids[4:8] = 1, 2
    segments = [
        {"id": 1, "isthing": False, "category_id": 0},
        {"id": 2, "isthing": True, "category_id": 5, "score": 0.75},
    ]
    blue = IMAGE.copy()
    blue[..., 2] = 7  # which a network for BGR sees first
    found = build_detector(Finder(Panoptic({"panoptic_seg": (ids, segments)}), [], "BGR", "P"))
    instances = found(blue)
    assert instances.classes.tolist() == [5] and instances.scores.tolist() == [0.75]
    assert np.array_equal(instances.modal[0], ids.numpy() == 2)
    nothing = build_detector(Finder(Panoptic({"sem_seg": ids}), [], "BGR", "P"))
    with pytest.raises(ValueError, match=r"P finds no instances: it gives \['sem_seg'\]"):
        nothing(blue)


def test_our_lazy_and_yaml_files_are_the_same_network():
    """So one file of weights serves both above."""
    cfg = LazyConfig.load(detectron2_zoo.get_config_file(LAZY))
    with torch.device("meta"):
        lazy = instantiate(cfg.model)
    other = without_weights(load_cfg(detectron2_zoo.get_config_file(R50), ["MODEL.DEVICE", "cpu"]))
    assert lazy.state_dict().keys() == other.state_dict().keys()
