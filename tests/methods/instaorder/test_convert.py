"""The authors' weights in our networks: made-up state dicts of the published names and shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from occ_order.cli import main
from occ_order.config import load_cfg
from occ_order.engine.checkpoint import OrderCheckpointer, read_checkpoint
from occ_order.engine.checkpoint.convert_pairwise import convert_pairwise
from occ_order.engine.checkpoint.convert_resnet import convert_resnet, is_torchvision_resnet
from occ_order.methods.common.pair_classifier import PairClassifier, TorchvisionResNet
from occ_order.methods.instaorder.order_net import PairwiseOrderNet
from occ_order.methods.instaorder.pcnet_m import PCNetM
from occ_order.methods.instaorder.unet import UNet

ROOT = Path(__file__).resolve().parents[3]


def published_resnet(channels: int, **heads: int) -> dict[str, torch.Tensor]:
    """Names and shapes of a published classifier, from torchvision itself."""
    net = torchvision.models.resnet50(weights=None)
    net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    del net.fc
    for name, size in heads.items():
        setattr(net, name, nn.Linear(2048, size))
    return {f"module.{name}": tensor for name, tensor in net.state_dict().items()}


class DoubleConv(nn.Module):
    """The published block: two convolutions behind the name `conv`."""

    def __init__(self, before, after):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.conv(x)


class PublishedUNet(nn.Module):
    """The published names and wiring, written from their description."""

    def __init__(self, width=32):
        super().__init__()
        w = width
        self.inc = nn.ModuleDict({"conv": DoubleConv(2, w)})
        for k, (a, b) in enumerate([(w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w)]):
            block = nn.Sequential(nn.MaxPool2d(2), DoubleConv(a, b))
            setattr(self, f"down{k + 1}", nn.ModuleDict({"mpconv": block}))
        for k, (a, b) in enumerate([(16 * w, 4 * w), (8 * w, 2 * w), (4 * w, w), (2 * w, w)]):
            setattr(self, f"up{k + 1}", nn.ModuleDict({"conv": DoubleConv(a, b)}))
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(w, 2, 1)})
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, x):
        x1 = self.inc["conv"](x)
        x2 = self.down1["mpconv"](x1)
        x3 = self.down2["mpconv"](x2)
        x4 = self.down3["mpconv"](x3)
        y = self.down4["mpconv"](x4)
        for k, skip in enumerate((x4, x3, x2, x1)):
            up = getattr(self, f"up{k + 1}")
            y = up["conv"](torch.cat([skip, self.enlarge(y)], dim=1))
        return self.outc["conv"](y)


def weights_of(module, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    ("channels", "heads", "said", "tasks", "relations"),
    [
        (5, {"fc": 2}, None, ["occlusion"], 3),
        (2, {"fc": 2}, None, ["occlusion"], 3),
        (5, {"fc": 3}, "depth", ["depth"], 3),
        (5, {"fc": 3}, "relation", ["relation"], 3),
        (5, {"fc": 4}, None, ["relation"], 4),
        (5, {"fc_occ": 2, "fc_depth": 3}, None, ["occlusion", "depth"], 3),
    ],
)
def test_every_weight_has_its_place(cfg, channels, heads, said, tasks, relations):
    cfg.MODEL.BACKBONE.NAME = "build_torchvision_resnet_backbone"
    cfg.MODEL.RESNETS.DEPTH = 50
    cfg.MODEL.PAIRWISE.TASKS, cfg.MODEL.PAIRWISE.NUM_RELATIONS = tasks, relations
    cfg.MODEL.PAIRWISE.INPUTS = ["masks", "image"] if channels == 5 else ["masks"]
    with torch.device("meta"):
        theirs = published_resnet(channels, **heads)
        net = PairwiseOrderNet(cfg)
    net.load_state_dict(convert_pairwise(theirs, three_classes=said), strict=True, assign=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.items()}
    assert shapes["module.conv1.weight"] == (64, channels, 7, 7)


def test_a_converted_classifier_gives_the_same_logits():
    theirs = torchvision.models.resnet18(weights=None)
    theirs.fc = nn.Linear(512, 2)
    converted = convert_pairwise(weights_of(theirs, "module."))
    ours = PairClassifier(TorchvisionResNet(18, 3), {"occlusion": 2})
    ours.load_state_dict({k.removeprefix("classifier."): v for k, v in converted.items()})
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.eval()(x)
        torch.testing.assert_close(ours.eval()(x)["occlusion"], expected)


def test_a_converted_unet_gives_the_same_logits():
    theirs, ours = PublishedUNet(width=4), UNet(2, width=4)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    converted = convert_pairwise(weights_of(theirs, "module."))
    ours.load_state_dict({name.removeprefix("net."): v for name, v in converted.items()})
    x = torch.randn(2, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-5, rtol=1e-4)


def test_the_published_unet_fits_pcnet_m(cfg):
    cfg.MODEL.PCNET_M.WIDTH = 32
    with torch.device("meta"):
        theirs, net = PublishedUNet(), PCNetM(cfg)
    assert sum(p.numel() for p in theirs.parameters()) == 3_352_002
    net.load_state_dict(convert_pairwise(weights_of(theirs, "module.")), strict=True, assign=True)


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({"fc.weight": torch.zeros(3, 8)}, {}, "three classes.*specify which"),
        ({"fc.weight": torch.zeros(5, 8)}, {}, "2, 3 or 4 classes, got 5"),
        ({"fc.weight": torch.zeros(3, 8)}, {"three_classes": "height"}, "got 'height'"),
        ({"layer9.weight": torch.zeros(1)}, {}, "'layer9.weight' is not a weight of"),
        ({"inc.weight": torch.zeros(1)}, {}, "'inc.weight' is not a weight of"),
        ({}, {}, "no weights"),
    ],
)
def test_what_cannot_be_converted_is_said(weights, options, message):
    with pytest.raises(ValueError, match=message):
        convert_pairwise(weights, **options)


# --- the command


CONFIG = """
MODEL:
  META_ARCHITECTURE: PCNetM
  DEVICE: cpu
  PCNET_M: {WIDTH: %d}
"""


@pytest.fixture
def run(capsys):
    """Runs the command in this process: (exit status, what it printed)."""

    def convert(*arguments):
        status = main(["zoo", "weights", *map(str, arguments)])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return convert


def test_the_command_converts_and_checks(tmp_path, run):
    theirs, out = tmp_path / "pcnet_m.pth.tar", tmp_path / "ours.pth"
    state = weights_of(PublishedUNet(width=2), "module.")
    torch.save({"step": 3, "state_dict": state, "optimizer": {"state": {}}}, theirs)
    (tmp_path / "fits.yaml").write_text(CONFIG % 2)
    status, printed = run(theirs, out, "--config-file", tmp_path / "fits.yaml")
    assert status == 0, printed
    weights = read_checkpoint(out)["model"]
    assert torch.equal(weights["net.last.bias"], state["module.outc.conv.bias"])
    (tmp_path / "other.yaml").write_text(CONFIG % 3)
    status, printed = run(theirs, tmp_path / "x.pth", "--config-file", tmp_path / "other.yaml")
    assert status == 2 and "does not fit" in printed
    assert not (tmp_path / "x.pth").exists()


def test_half_writes_the_weights_alone_and_they_answer_alike(tmp_path, run, build_model):
    (tmp_path / "c.yaml").write_text(CONFIG % 4)
    cfg = load_cfg(tmp_path / "c.yaml")
    trained, small = build_model(cfg).eval(), build_model(cfg).eval()
    trainer = torch.optim.SGD(trained.parameters(), lr=1.0)
    OrderCheckpointer(trained, str(tmp_path), trainer=trainer).save("model_final", iteration=3)
    files = tmp_path / "model_final.pth", tmp_path / "small.pth"
    status, printed = run(*files, "--half", "--config-file", tmp_path / "c.yaml")
    assert status == 0, printed
    assert files[1].stat().st_size < files[0].stat().st_size
    stored = torch.load(files[1], weights_only=True)
    assert set(stored) == {"model"}
    assert {v.dtype for v in stored["model"].values()} == {torch.float16, torch.int64}
    OrderCheckpointer(small, strict=True).load(str(files[1]))
    assert {p.dtype for p in small.parameters()} == {torch.float32}
    x = torch.rand(1, 2, 64, 64)
    with torch.no_grad():
        assert not small.net(x).equal(trained.net(x))
        torch.testing.assert_close(small.net(x), trained.net(x), atol=1e-2, rtol=0)


def test_half_refuses_what_float16_cannot_hold(tmp_path, run):
    torch.save({"model": {"w": torch.tensor([1e6])}}, tmp_path / "large.pth")
    status, printed = run(tmp_path / "large.pth", tmp_path / "out.pth", "--half")
    assert status == 2 and "weight w is not finite in float16" in printed
    assert not (tmp_path / "out.pth").exists()


def test_calibration_scales_and_shifts_the_logit_of_each_score(tmp_path, run):
    torch.manual_seed(0)
    name = "roi_heads.box_predictor.cls_score"
    weights = {f"{name}.weight": torch.randn(2, 5), f"{name}.bias": torch.randn(2)}
    files = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"model": {**weights, "other": torch.ones(1)}}, files[0])
    status, printed = run(*files, "--half", "--calibrate", "1.5", "-0.75")
    assert status == 0, printed
    changed = torch.load(files[1], weights_only=True)["model"]
    assert set(changed) == {*weights, "other"}
    x = torch.randn(7, 5)

    def scores(part):
        logits = x @ part[f"{name}.weight"].float().T + part[f"{name}.bias"].float()
        return logits.softmax(1)[:, 0]

    expected = torch.sigmoid(1.5 * scores(weights).logit() - 0.75)
    torch.testing.assert_close(scores(changed), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("rows", "scale", "message"),
    [(3, "1", "has 2 classes, expected 1"), (2, "-1", "must be positive"), (0, "1", "must be")],
)
def test_what_cannot_be_calibrated_is_refused(tmp_path, run, rows, scale, message):
    name = "roi_heads.box_predictor.cls_score"
    layer = {f"{name}.weight": torch.ones(rows, 5), f"{name}.bias": torch.ones(rows)}
    torch.save({"model": layer if rows else {"other": torch.ones(1)}}, tmp_path / "a.pth")
    files = tmp_path / "a.pth", tmp_path / "b.pth"
    status, printed = run(*files, "--half", "--calibrate", scale, "0")
    assert status == 2 and message in printed and not files[1].exists()


class Harmful:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return print, ("harm",)


def test_a_file_that_would_run_code_is_refused(tmp_path, run):
    torch.save({"state_dict": {}, "optimizer": Harmful()}, tmp_path / "bad.pth.tar")
    status, printed = run(tmp_path / "bad.pth.tar", tmp_path / "out.pth")
    assert status == 2 and "harm" not in printed.splitlines()
    assert "bad.pth.tar" in printed and "can execute code" in printed


# --- ImageNet


def test_a_pretrained_resnet_sees_the_image_as_before():
    """Section 4.1: InstaOrderNet "uses the pre-trained ResNet-50 backbone"; a pair has two more
    channels, which must not change what it says of the image before it has learned."""
    net = torchvision.models.resnet18(weights=None).eval()
    weights = convert_resnet(net.state_dict(), 5)
    backbone = TorchvisionResNet(18, 5).eval()
    found = {name.removeprefix("classifier.backbone."): value for name, value in weights.items()}
    missing, unexpected = backbone.load_state_dict(found, strict=False)
    assert not missing and not unexpected
    image = torch.randn(2, 3, 64, 64)
    pooled = {}
    net.avgpool.register_forward_hook(lambda *args: pooled.update(out=args[2]))
    with torch.no_grad():
        net(image)
        for masks in (torch.zeros(2, 2, 64, 64), torch.rand(2, 2, 64, 64)):
            found = backbone(torch.cat([masks, image], 1))["res5"].mean((2, 3))
            torch.testing.assert_close(found, pooled["out"].flatten(1))


def test_the_masks_of_a_pretrained_network_can_learn():
    net = torchvision.models.resnet18(weights=None)
    weights = convert_resnet(net.state_dict(), 5)["classifier.backbone.conv1.weight"]
    assert not weights[:, :2].any()
    backbone = TorchvisionResNet(18, 5)
    backbone.conv1.weight.data.copy_(weights)
    backbone(torch.rand(2, 5, 64, 64))["res5"].square().sum().backward()
    assert backbone.conv1.weight.grad[:, :2].any()


def test_only_a_resnet_of_torchvision_is_taken_for_one():
    weights = torchvision.models.resnet18(weights=None).state_dict()
    assert is_torchvision_resnet(weights)
    assert not is_torchvision_resnet(published_resnet(5))
    with pytest.raises(ValueError, match="2 input channels do not include the three of the image"):
        convert_resnet(weights, 2)


def test_the_command_widens_a_resnet(tmp_path, run):
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), tmp_path / "r50.pth")
    file = "configs/InstaOrder/instaorder_net_o.yaml"
    status, _ = run(tmp_path / "r50.pth", tmp_path / "pairs.pth", "--config-file", ROOT / file)
    assert status == 0
    weights = read_checkpoint(tmp_path / "pairs.pth")["model"]
    assert weights["classifier.backbone.conv1.weight"].shape == (64, 5, 7, 7)
    assert not any("fc" in name for name in weights)
    status, said = run(tmp_path / "r50.pth", tmp_path / "other.pth")
    assert status == 2 and "needs --config-file" in said
    assert not (tmp_path / "other.pth").exists()
