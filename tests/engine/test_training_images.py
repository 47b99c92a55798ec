"""Images of predictions while a network learns, in TensorBoard and in wandb."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.events import EventStorage

import occ_order.methods.build  # noqa: F401
from occ_order import scenes
from occ_order.config import load_cfg
from occ_order.engine.draw_hook import PredictionImages
from occ_order.engine.trainer import Trainer
from occ_order.engine.wandb_writer import WandbWriter

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TINY = [
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.MINI_RESNET.WIDTH", "4"),
    *("DATASETS.TEST", "('drawn_set',)", "DATASETS.TRAIN", "('drawn_set',)", "VIS_PERIOD", "2"),
    *("DATALOADER.NUM_WORKERS", "0", "TEST.EVAL_PERIOD", "0", "MODEL.RPN.POST_NMS_TOPK_TEST"),
    *("10", "INPUT.MIN_SIZE_TEST", "0", "TEST.EXPECTED_RESULTS", "[]"),
]
ORDERS = {"overlay", "occlusion", "occlusion_graph", "relative_depth"}
NETWORKS = {
    "quick_schedules/order_net_od_instant_test.yaml": ORDERS | {"depth_graph"},
    "quick_schedules/pcnet_m_instant_test.yaml": ORDERS | {"amodal"},
    "quick_schedules/order_head_instant_test.yaml": ORDERS | {"depth_graph"},
    "quick_schedules/insta_depth_od_instant_test.yaml": ORDERS | {"depth_graph", "disparity"},
    "quick_schedules/oosis_instant_test.yaml": ORDERS | {"boundary"},
    "quick_schedules/sln_instant_test.yaml": ORDERS,
    "InstaOrder/scenes/area.yaml": ORDERS | {"depth_graph"},
}


@pytest.fixture
def drawn_set(tmp_path):
    """A data set of three scenes."""
    records = []
    for k in range(3):
        scene = scenes.generate(k, size=(64, 64), num_instances=3)
        file = str(tmp_path / f"{k}.png")
        cv2.imwrite(file, scene.image[:, :, ::-1])
        record = scenes.to_record(scene, image_id=k, file_name=file)
        for annotation in record["annotations"]:
            annotation["category_id"] %= len(scenes.CLASSES)
        records.append(record)
    DatasetCatalog.register("drawn_set", lambda: records)
    MetadataCatalog.get("drawn_set").set(
        thing_classes=[str(k) for k in range(len(scenes.CLASSES))], evaluator_type="instaorder"
    )
    yield
    DatasetCatalog.remove("drawn_set")
    MetadataCatalog.remove("drawn_set")


@pytest.mark.parametrize("config", NETWORKS)
@pytest.mark.usefixtures("drawn_set")
def test_every_network_is_drawn(config, build_model):
    cfg = load_cfg(CONFIGS / config, TINY)
    model = build_model(cfg).train()
    hook = PredictionImages(cfg)
    with EventStorage() as storage:
        hook.trainer = SimpleNamespace(iter=0, model=model, storage=storage)
        hook.after_step()
        assert not storage._vis_data  # VIS_PERIOD is 2
        hook.trainer.iter = 1
        before = torch.random.get_rng_state()
        hook.after_step()
        assert torch.equal(before, torch.random.get_rng_state())
    assert model.training
    drawn = dict((name, pixels) for name, pixels, _ in storage._vis_data)
    assert NETWORKS[config] <= {name.split("/")[1] for name in drawn if name.startswith("val_0/")}
    assert {name.split("/")[0] for name in drawn} == {"val_0", "val_1"}
    for pixels in drawn.values():
        assert pixels.dtype == np.uint8 and pixels.shape[0] == 3


class StandIn:
    """What WandbWriter uses of wandb."""

    def __init__(self):
        self.logged, self.finished = {}, False

    def init(self, **options):
        self.options = options
        return self

    def log(self, values, step):
        self.logged.setdefault(step, {}).update(values)

    def finish(self):
        self.finished = True

    @staticmethod
    def Image(array):
        return np.asarray(array).shape


@pytest.mark.usefixtures("drawn_set")
def test_a_training_writes_them_to_tensorboard_and_wandb(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wandb = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    config = CONFIGS / "quick_schedules/order_net_od_instant_test.yaml"
    more = ["OUTPUT_DIR", str(tmp_path / "run"), "SOLVER.MAX_ITER", "4"]
    cfg = load_cfg(config, [*TINY, *more, "LOGGING.WANDB_PROJECT", "orders"])
    trainer = Trainer(cfg)
    trainer.train()
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert "val_0/occlusion_graph" in events.Tags()["images"]
    assert [event.step for event in events.Images("val_1/overlay")] == [1, 3]
    assert wandb.options["project"] == "orders" and wandb.finished
    assert wandb.options["config"]["SOLVER"]["MAX_ITER"] == 4
    assert wandb.logged[3]["val_0/overlay"][2] == 3
    assert wandb.logged[3]["total_loss"] > 0
    assert list(wandb.logged) == sorted(wandb.logged)


def test_without_wandb_the_setting_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    opts = ["LOGGING.WANDB_PROJECT", "orders", "OUTPUT_DIR", str(tmp_path)]
    cfg = load_cfg(CONFIGS / "InstaOrder/scenes/area.yaml", opts)
    with pytest.raises(ImportError, match="'orders', but wandb is not installed: pip install"):
        WandbWriter(cfg)
