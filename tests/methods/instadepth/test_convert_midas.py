"""The published names: a network that has them, converted, gives the same disparities."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

import torchvision  # noqa: E402
from torch import nn  # noqa: E402

from occ_order.config import get_cfg  # noqa: E402
from occ_order.engine.checkpoint.convert_midas import convert_midas, is_midas  # noqa: E402
from occ_order.methods.instadepth.meta_arch import InstaDepthNet  # noqa: E402


class PublishedUnit(nn.Module):
    """Residual convolution unit whose ReLU overwrites its input, hence also the identity."""

    def __init__(self, features):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x):
        out = self.conv1(x.relu_())
        return self.conv2(out.relu_()) + x


class PublishedFusion(nn.Module):
    """The parameters of the first unit exist at the coarsest level as well."""

    def __init__(self, features):
        super().__init__()
        self.resConfUnit1 = PublishedUnit(features)
        self.resConfUnit2 = PublishedUnit(features)

    def forward(self, x, skip=None):
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        return nn.functional.interpolate(
            self.resConfUnit2(x), scale_factor=2, mode="bilinear", align_corners=True
        )


class PublishedMidas(nn.Module):
    """MiDaS v2.1 with the names of `model-f6b98070.pt`, over any of torchvision's ResNets."""

    def __init__(self, resnet, features, first, second):
        super().__init__()
        self.pretrained = nn.Module()
        stem = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.pretrained.layer1 = nn.Sequential(*stem, resnet.layer1)
        self.pretrained.layer2, self.pretrained.layer3 = resnet.layer2, resnet.layer3
        self.pretrained.layer4 = resnet.layer4
        base = resnet.fc.in_features // 8
        self.scratch = nn.Module()
        for k in range(1, 5):
            lateral = nn.Conv2d(base * 2 ** (k - 1), features, 3, padding=1, bias=False)
            setattr(self.scratch, f"layer{k}_rn", lateral)
            setattr(self.scratch, f"refinenet{k}", PublishedFusion(features))
        self.scratch.output_conv = nn.Sequential(
            nn.Conv2d(features, first, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(second, 1, 1),
            nn.ReLU(),
        )

    def forward(self, x):
        skips = []
        for k in range(1, 5):
            x = getattr(self.pretrained, f"layer{k}")(x)
            skips.append(getattr(self.scratch, f"layer{k}_rn")(x))
        path = self.scratch.refinenet4(skips[3])
        for k in (3, 2, 1):
            path = getattr(self.scratch, f"refinenet{k}")(path, skips[k - 1])
        return self.scratch.output_conv(path)[:, 0]


def config(depth: int, *, groups: int = 1, width: int = 64, heads=(), features: int = 8):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "InstaDepthNet"
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.DEPTH = depth
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64 if depth < 50 else 256
    cfg.MODEL.RESNETS.NUM_GROUPS, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = groups, width
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.DISPARITY.FEATURES = features
    cfg.MODEL.DISPARITY.OUTPUT_CHANNELS = [8, 4] if features == 8 else [128, 32]
    cfg.MODEL.DISPARITY.HEADS = list(heads)
    cfg.MODEL.DISPARITY.HEAD_DEPTH = 50 if groups > 1 else 0
    return cfg


def randomize_statistics(model):
    """Normalisations that differ from the identity, so that a wrong one shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet18", {"depth": 18}),
        ("resnext50_32x4d", {"depth": 50, "groups": 32, "width": 4}),
    ],
)
def test_converted_weights_give_the_published_disparity(on_device, name, settings):
    published = PublishedMidas(getattr(torchvision.models, name)(weights=None), 8, 8, 4).eval()
    randomize_statistics(published)
    weights = published.state_dict()
    assert is_midas(weights)
    model = InstaDepthNet(config(**settings)).eval()
    missing, unexpected = model.load_state_dict(convert_midas(weights), strict=False)
    assert not missing and not unexpected
    image, network = torch.randn(2, 3, 64, 96), on_device(model.disparity_net)
    with torch.no_grad():
        theirs, (ours, _) = published(image), network(image)
    assert theirs.max() > 0  # a rectifier that gives nothing would agree with anything
    assert torch.allclose(ours, theirs, atol=1e-5)


def published_shapes(heads: str) -> dict[str, torch.Tensor]:
    """Names and shapes of the published files, without numbers in them."""
    with torch.device("meta"):
        encoder = torchvision.models.resnext101_32x8d(weights=None)
        tensors = PublishedMidas(encoder, 256, 128, 32).state_dict()
        outputs = {"d": {"gdo_net": 3}, "od": {"do_net": 3, "oo_net": 2}}[heads]
        names = {"gdo_net": "fc", "do_net": "depth_fc", "oo_net": "occ_fc"}
        for name, number in outputs.items():
            net = torchvision.models.resnet50(num_classes=number)
            net.conv1 = nn.Conv2d(2, 64, 7, bias=False)
            tensors |= {f"{name}.{key}": value for key, value in net.state_dict().items()}
            for key, value in net.fc.state_dict().items():
                tensors[f"{names[name]}.{key}"] = value
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


def count(tensors) -> int:
    return sum(
        tensor.numel()
        for name, tensor in tensors.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )


@pytest.mark.parametrize(
    ("kind", "heads", "parameters"),
    [("d", ["depth"], 128_880_135), ("od", ["depth", "occlusion"], 152_393_227)],
)
def test_the_published_networks_fit_name_by_name(kind, heads, parameters):
    """The sizes that the published checkpoints have, linear layers that they never use included."""
    published = published_shapes(kind)
    assert count(published) == parameters
    with torch.device("meta"):
        cfg = config(101, groups=32, width=8, heads=heads, features=256)
        model = InstaDepthNet(cfg)
    ours, converted = model.state_dict(), convert_midas(published)
    assert ours.keys() == converted.keys()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in converted.items()}


def test_the_first_layers_may_be_stored_twice():
    """As `conv1` and `bn1`, and again inside `layer1`."""
    flat = {k.removeprefix("module."): v for k, v in published_shapes("d").items()}
    nested = {}
    for name, tensor in flat.items():
        inner = name.removeprefix("gdo_net.")
        if inner != name and inner.startswith(("conv1.", "bn1.")):
            position = "0" if inner.startswith("conv1") else "1"
            nested[f"gdo_net.layer1.{position}.{inner.split('.', 1)[1]}"] = tensor
        elif inner != name and inner.startswith("layer1."):
            name = f"gdo_net.layer1.4.{inner.removeprefix('layer1.')}"
        nested[name] = tensor
    twice, once = convert_midas(nested), convert_midas(flat)
    assert {k: v.shape for k, v in twice.items()} == {k: v.shape for k, v in once.items()}


@pytest.mark.parametrize(
    "name",
    ["model.weight", "pretrained.layer5.0.conv1.weight", "scratch.refinenet5.weight", "do_net.x"],
)
def test_unknown_names_are_refused_by_name(name):
    with pytest.raises(ValueError, match=name.removeprefix("do_net.").split("pretrained.")[-1]):
        convert_midas({name: torch.zeros(1)})


def test_other_checkpoints_are_not_taken_for_midas():
    other = {"module.conv1.weight": torch.zeros(1), "module.fc.weight": torch.zeros(1)}
    assert not is_midas(other)
    with pytest.raises(ValueError, match="no weights of a MiDaS encoder"):
        convert_midas({"fc.weight": torch.zeros(3, 4)})
