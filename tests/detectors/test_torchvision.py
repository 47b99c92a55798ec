"""torchvision's Mask R-CNNs as they are, with made-up weights."""

from __future__ import annotations

from urllib.error import URLError

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
pytest.importorskip("detectron2")

from occ_order.detectors import of_torchvision  # noqa: E402
from occ_order.detectors.registry import build_detector  # noqa: E402
from tests.detectors.made_up import made_up, probability  # noqa: E402

IMAGE = np.full((32, 48, 3), 80, np.uint8)
PERSON = 1


def weights_of(name, classes=91):
    """Made-up weights of a network that is built without memory for it."""
    with torch.device("meta"):
        network = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=classes
        )
    return made_up(
        network.state_dict(),
        boxes="roi_heads.box_predictor.cls_score.bias",
        masks="roi_heads.mask_predictor.mask_fcn_logits.bias",
        chosen=PERSON,
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "made_up.pth"
    torch.save(weights_of(of_torchvision.DEFAULT), path)
    return path


def test_the_default_at_full_size_finds_what_its_weights_say(file, device):
    detector = build_detector("torchvision", weights=file, device=device)
    transform = detector.find.network.transform
    assert (transform.min_size, transform.max_size) == ((800,), 1333)
    transform.min_size = (32,)
    found = detector(IMAGE)
    assert len(found) > 0 and set(found.names) == {"person"} and set(found.classes) == {PERSON}
    assert np.allclose(found.scores, probability(91), atol=1e-4)
    rows, columns = (np.flatnonzero(found.modal[0].any(axis)) for axis in (1, 0))
    box = found.modal[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.all() and found.modal.sum(0).max() == 1
    assert detector.about.startswith("torchvision's maskrcnn_resnet50_fpn_v2 (weights made_up.pth")
    detector.find.network.roi_heads.score_thresh = 1.0
    assert len(detector(IMAGE)) == 0


def test_the_first_version_divides_by_deviations_as_torchvision_makes_it(
    tmp_path, monkeypatch, device, moved
):
    """Its batch norms have no epsilon once they have weights: small deviations tell."""
    name, part = "maskrcnn_resnet50_fpn", "backbone.body.bn1.running_"
    state = weights_of(name)
    state[f"{part}mean"] = torch.full((64,), 1e-3)
    state[f"{part}var"] = torch.full((64,), 1e-6)
    state["backbone.body.bn1.weight"] = torch.ones(64)
    torch.save(state, tmp_path / "w.pth")
    theirs = {key: value for key, value in state.items() if "num_batches" not in key}
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *a, **b: theirs)
    expected = torchvision.models.get_model(name, weights="DEFAULT").eval()
    detector = build_detector(f"torchvision:{name}", weights=tmp_path / "w.pth", device=device)
    x = torch.zeros(1, 64, 2, 2)
    ours = detector.find.network.backbone.body.bn1(moved(x)).cpu()
    assert torch.allclose(ours, torch.full_like(ours, -1), atol=1e-3)
    assert torch.allclose(ours, expected.backbone.body.bn1(x))


def test_weights_that_do_not_fit(file, tmp_path):
    state = torch.load(file, weights_only=True)
    key = "backbone.fpn.inner_blocks.0.0.weight"
    damaged = {
        "is no Mask R-CNN": ({"a": torch.zeros(1)}, "no weights of a Mask R-CNN of torchvision"),
        "lacks one": ({k: v for k, v in state.items() if k != key}, rf"missing \['{key}'\]"),
        "has another shape": ({**state, key: torch.zeros(3)}, f"size mismatch for {key}"),
    }
    for name, (weights, message) in damaged.items():
        torch.save(weights, tmp_path / f"{name}.pth")
        with pytest.raises(ValueError, match=message):
            build_detector("torchvision", weights=tmp_path / f"{name}.pth")


def test_a_network_that_finds_no_masks_is_refused():
    with pytest.raises(ValueError, match=r"no 'resnet50' that finds masks; it has \['maskrcnn_"):
        build_detector("torchvision:resnet50")


def test_without_a_network_one_sentence_says_where_the_weights_belong(tmp_path, monkeypatch):
    def fails(*args, **more):
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    with pytest.raises(FileNotFoundError) as caught:
        build_detector("torchvision")
    name = "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth"
    assert str(caught.value) == (
        f"the weights {name} cannot be downloaded (Name or service not known): get "
        f"https://download.pytorch.org/models/{name} where there is a network and put it at "
        f"{tmp_path / 'hub' / 'checkpoints' / name}, or name the file as the detector's weights"
    )


def test_weights_that_are_there_are_taken(file, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth").write_bytes(file.read_bytes())
    about = build_detector("torchvision").about
    assert about == (
        "torchvision's maskrcnn_resnet50_fpn_v2 (trained on COCO 2017, 80 classes; mask AP 41.8 on "
        "its val, as torchvision says)"
    )
