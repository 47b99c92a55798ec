"""A network of a few weights and a data set of ten small images, for tests of the training loop.

`serve` does, in a process of its own, what must not be done in the tests' process.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import resource
import signal
import socket
import tempfile
import time
import traceback
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine.launch import _distributed_worker
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from PIL import Image
from torch import nn

from occ_order import masks
from occ_order.cli import main as command
from occ_order.config import get_cfg, load_cfg
from occ_order.engine.checkpoint.files import read_iteration, write_checkpoint
from occ_order.engine.evaluation import EVALUATOR_REGISTRY, build_evaluator
from occ_order.engine.trainer import Trainer
from occ_order.formats import write_depth_png
from occ_order.formats.builtin import register_cocoa
from occ_order.formats.write_scenes import make, scene_parameters
from occ_order.methods.common.pair_matrix import PairMatrix

HEIGHT, WIDTH, NUM_IMAGES = 16, 24, 10


@META_ARCH_REGISTRY.register()
class ToyNet(nn.Module):
    """Learns the mean colour through a dropout, so that its training needs random numbers.

    At test time it returns the annotated instances, the first in front of all others.
    """

    @configurable
    def __init__(self, device="cpu"):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(4, 1)
        self.device = device

    @classmethod
    def from_config(cls, cfg):
        return {"device": cfg.MODEL.DEVICE}

    def forward(self, batch):
        images = torch.stack([item["image"].float() / 255 for item in batch])
        if not self.training:
            return [self.answer(item) for item in batch]
        values = self.out(self.drop(self.conv(images).relu().mean(dim=(2, 3))))
        return {"loss_colour": ((values[:, 0] - images.mean(dim=(1, 2, 3))) ** 2).mean()}

    def answer(self, item):
        torch.rand(3)  # an evaluation that uses random numbers must not change the training
        given = item["instances"]
        result = Instances(given.image_size)
        result.pred_masks = given.gt_masks.tensor
        result.pred_classes = given.gt_classes
        result.scores = torch.linspace(1, 0.5, len(given))
        occlusion = torch.zeros(len(given), len(given), dtype=torch.int8)
        occlusion[:1, 1:] = 1
        result.occlusion = PairMatrix(occlusion)
        return {"instances": result}


def records(folder, number=NUM_IMAGES):
    """Records of `number` images; the first has no instances, the second one, others two."""
    result = []
    for k in range(number):
        stack = np.zeros((min(k, 2), HEIGHT, WIDTH), bool)
        for i, mask in enumerate(stack):
            mask[2 + i : 9, 3 + 6 * i : 12 + 5 * i] = True
        if len(stack) == 2:
            stack[1] &= ~stack[0]
        occlusion = np.zeros((len(stack), len(stack)), np.int8)
        occlusion[:1, 1:] = k % 2
        annotations = [
            {
                "id": 10 * k + i,
                "category_id": 0,
                "bbox": masks.bounding_box(mask).tolist(),
                "bbox_mode": 0,
                "segmentation": masks.encode(mask),
                "iscrowd": 0,
            }
            for i, mask in enumerate(stack)
        ]
        result.append(
            {
                "file_name": str(Path(folder, f"{k}.png")),
                "image_id": k,
                "height": HEIGHT,
                "width": WIDTH,
                "annotations": annotations,
                "occlusion": occlusion,
            }
        )
    return result


def write_images(folder):
    """The images of `records`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for record in records(folder):
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(pixels // (record["image_id"] + 1)).save(record["file_name"])


def register(name, folder, number=NUM_IMAGES):
    """Registers the data set, once more if need be."""
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: records(folder, number))
    MetadataCatalog.get(name).set(thing_classes=["thing"], evaluator_type="cocoa")


def config(folder, output, *opts):
    """Settings of a training of 20 iterations on the images in `folder`."""
    register("toy", folder)
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "ToyNet"
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.MAPPER = "InstanceOrderMapper"
    cfg.INPUT.KEEP_GROUND_TRUTH = True
    cfg.INPUT.MIN_SIZE_TRAIN = (HEIGHT,)
    cfg.INPUT.MIN_SIZE_TEST = HEIGHT
    cfg.DATASETS.TRAIN = ("toy",)
    cfg.DATASETS.TEST = ("toy",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SOLVER.MAX_ITER = 20
    cfg.SOLVER.CHECKPOINT_PERIOD = 4
    cfg.SOLVER.BASE_LR = 0.05
    cfg.SEED = 3
    cfg.OUTPUT_DIR = str(output)
    cfg.merge_from_list(list(opts))
    return cfg


class QuietTrainer(Trainer):
    """Without TensorBoard's and the printed log, which take more time than the training."""

    def build_writers(self):
        return []


def train(cfg, *, resume=False, trainer=QuietTrainer):
    """Trains as the command does; returns the trainer."""
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    seed_all_rng(cfg.SEED if cfg.SEED >= 0 else None)
    result = trainer(cfg)
    result.resume_or_load(resume=resume)
    result.train()
    return result


def answer_all(evaluator, folder, part=slice(None)):
    """Lets an evaluator see the network's answers for some of the images, which are not read."""
    from occ_order.methods.common.reading import ground_truth_instances, read_masks

    net = ToyNet(device="cpu")
    for record in records(folder)[part]:
        item = {key: record[key] for key in ("image_id", "file_name", "height", "width")}
        item["instances"] = ground_truth_instances(record, read_masks(record), None)
        evaluator.process([item], [net.answer(item)])


# --- children of this process: killed ones, and several at once


def kill_while_saving(stage):
    """Lets this process kill itself at the n-th call that a checkpoint makes of the system."""
    calls = 0

    def counted(real):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == stage:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in ("fsync", "replace", "chmod"):
        setattr(os, name, counted(getattr(os, name)))


def forked(function, *args):
    """Process id of a child that calls a function and ends; status 1 if it raised."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    signal.alarm(900)  # against a hang; how long it takes on a busy machine is nobody's fault
    try:
        function(*args)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def train_on(cfg, stage, starts):
    """Resumes; notes the first iteration in the file `starts`."""

    class Noting(QuietTrainer):
        def before_train(self):
            super().before_train()
            with open(starts, "a", encoding="utf-8") as file:
                file.write(f"{self.start_iter}\n")

    if stage:
        kill_while_saving(stage)
    train(cfg, resume=True, trainer=Noting)


def kills(folder, number, seed, period=2):
    """Trains in `number` children that are killed and in one that is not.

    Every second child kills itself inside a save; the others are killed from outside.

    Returns:
        {"children": [{"status", "start", "iterations": of the checkpoints afterwards}], "same":
        whether the weights are those of a training that was never killed}
    """
    draw = random.Random(seed)
    # Long enough that twice as fast a machine does not finish before the last child is killed.
    opts = ("SOLVER.MAX_ITER", 10 * number, "SOLVER.CHECKPOINT_PERIOD", period)
    write_images(folder)
    at_the_end = ("SOLVER.CHECKPOINT_PERIOD", 10 * number)
    whole = train(config(folder, Path(folder, "whole"), *opts, *at_the_end))
    cfg = config(folder, Path(folder, "killed"), *opts)
    starts, children = Path(folder, "starts"), []
    for k in range(number + 1):
        starts.write_text("", encoding="utf-8")
        stage = draw.randint(1, 14) if k % 2 and k < number else 0
        pid = forked(train_on, cfg, stage, starts)
        if k < number and not stage:
            time.sleep(draw.uniform(0.02, 0.12))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        files = sorted(Path(cfg.OUTPUT_DIR).glob("*.pth"))
        start = starts.read_text(encoding="utf-8").split()
        found = [read_iteration(path) for path in files]
        children.append({"status": status, "start": start, "iterations": found})
    final = torch.load(Path(cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)["model"]
    same = [torch.equal(v, final[k]) for k, v in whole.model.state_dict().items()]
    return {"children": children, "same": all(same)}


def launched(folder, number, function):
    """Runs `function(rank) -> JSON` in `number` processes joined by GLOO, as `launch` joins them.

    Detectron2's `launch` starts Python anew for each process, which takes seconds; here they are
    forked, and from there on it is its code.
    """
    folder = Path(tempfile.mkdtemp(dir=folder))

    def work():
        (folder / str(comm.get_rank())).write_text(json.dumps(function(comm.get_rank())))

    def start(rank):
        url = f"file://{folder}/store"
        _distributed_worker(rank, work, number, number, 0, url, ())

    for pid in [forked(start, rank) for rank in range(number)]:
        _, status = os.waitpid(pid, 0)
        if status:
            raise RuntimeError(f"a process ended with status {status}")
    return [json.loads((folder / str(rank)).read_text()) for rank in range(number)]


def full_disk(path, limit):
    """What a child says that may not write files longer than `limit` bytes, saving a longer one."""
    said = Path(path).parent.parent / "said"

    def save():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            write_checkpoint(path, {"model": {"w": torch.zeros(limit)}})
        except OSError as error:
            said.write_text(str(error), encoding="utf-8")

    os.waitpid(forked(save), 0)
    return said.read_text(encoding="utf-8")


# --- a data set with every field, and answers with every field, for every evaluator


def rich_records(folder, number=7):
    """Records from which every evaluator finds what it needs; the first has no instances."""
    folder = Path(folder)
    result = records(folder, number)
    rng = np.random.default_rng(0)
    for record in result:
        k, count = record["image_id"], len(record["annotations"])
        for annotation in record["annotations"]:
            mask = masks.decode(annotation["segmentation"], HEIGHT, WIDTH)
            whole = mask | np.roll(mask, 2, axis=1)
            annotation["amodal_segmentation"] = masks.encode(whole)
            annotation["amodal_bbox"] = masks.bounding_box(whole).tolist()
            annotation["is_stuff"] = k % 2
        off = ~np.eye(count, dtype=bool)
        record["depth"] = np.where(off, np.tri(count, k=-1) if k % 2 else 2, -1).astype(np.int8)
        record["overlap"] = np.where(off, k % 3 == 0, -1).astype(np.int8)
        record["count"] = np.where(off, 2, -1).astype(np.int16)
        record.update(point_a=(1, 2), point_b=(9, 9), relation="<" if k % 2 else ">")
        record["depth_file_name"] = str(folder / f"depth{k}.png")
        if not Path(record["depth_file_name"]).exists():
            write_depth_png(record["depth_file_name"], rng.uniform(0, 20, (HEIGHT, WIDTH)))
    return result


def rich_answer(record):
    """An answer with every field, from a generator of the image's own."""
    rng = np.random.default_rng(100 + record["image_id"])
    count = 3
    result = Instances((HEIGHT, WIDTH))
    modal = rng.random((count, HEIGHT, WIDTH)) < 0.3
    for i, annotation in enumerate(record["annotations"]):
        modal[i] ^= masks.decode(annotation["segmentation"], HEIGHT, WIDTH) & ~modal[i]
    modal[0] &= ~modal[1]
    result.pred_masks = torch.from_numpy(modal)
    result.pred_amodal_masks = torch.from_numpy(modal | (rng.random(modal.shape) < 0.1))
    result.pred_classes = torch.zeros(count, dtype=torch.int64)
    result.scores = torch.from_numpy(rng.uniform(0.2, 1, count).astype(np.float32))
    result.occlusion = PairMatrix(
        torch.from_numpy(np.triu(rng.random((3, 3)) < 0.6, 1)).to(torch.int8)
    )
    depth = torch.full((count, count), 2, dtype=torch.int8).fill_diagonal_(-1)
    result.depth = PairMatrix(depth)
    boundary = rng.random((5, HEIGHT, WIDTH)).astype(np.float32)
    boundary[:4] /= 4
    return {
        "instances": result,
        "disparity": torch.from_numpy(rng.uniform(0.1, 1, (HEIGHT, WIDTH)).astype(np.float32)),
        "occ_boundary": torch.from_numpy(boundary),
    }


NEEDS_GIVEN = ("GivenMaskAmodal", "GivenMaskOrder", "DisparityEvaluator")
"""Evaluators of networks that return the annotated instances and no others."""


def evaluator_of(name, folder, output, *opts):
    """One evaluator of the registry for the data set of `rich_records`."""
    register("rich", folder)
    DatasetCatalog.pop("rich")
    DatasetCatalog.register("rich", lambda: rich_records(folder))
    kind = "cocoa" if name == "AmodalEvaluator" else "instaorder"
    MetadataCatalog.pop("rich")
    MetadataCatalog.get("rich").set(thing_classes=["thing"], evaluator_type=kind)
    cfg = config(folder, output, "TEST.EVALUATORS", [name], *opts)
    return build_evaluator(cfg, "rich", output)


def feed(evaluator, name, those):
    """Lets an evaluator see the answers for some records."""
    evaluator.reset()
    for record in those:
        answer = rich_answer(record)
        if name in NEEDS_GIVEN:
            answer["instances"] = answer["instances"][: len(record["annotations"])]
            answer["instances"].ids = torch.tensor([a["id"] for a in record["annotations"]])
        evaluator.process([record], [answer])


def shards(all_records, number):
    """Uneven parts out of order; a third process sees nothing."""
    return {1: [all_records], 2: [all_records[3:], all_records[:3]]}.get(
        number, [all_records[4:], all_records[:4], []]
    )


def evaluations(folder, number):
    """Every evaluator in `number` processes: {name: [text of results, of the same again]}."""

    def work(rank):
        found = {}
        for name in sorted(EVALUATOR_REGISTRY._obj_map):
            output = Path(folder, f"{name}-{number}")
            evaluator = evaluator_of(name, folder, output)
            feed(evaluator, name, shards(rich_records(folder), number)[rank])
            results = [repr(evaluator.evaluate()) for _ in range(2)]
            files = {f.name: f.read_text("utf-8") for f in sorted(output.glob("*.json"))}
            found[name] = {"results": results, "files": files}
        return found

    rich_records(folder)  # writes the depth maps before several processes do
    if number == 1:
        return [work(0)]
    return launched(folder, number, work)


def weights_of(trainer):
    """All weights as one list, exactly."""
    model = getattr(trainer.model, "module", trainer.model)
    return torch.cat([value.flatten() for value in model.state_dict().values()]).tolist()


def train_together(folder, number):
    """Trains in several processes, whole and resumed; a NaN in the last process.

    Returns:
        For each process {"whole", "resumed": weights, "stopped": what the NaN makes it say}.
    """
    write_images(folder)
    opts = ("SOLVER.IMS_PER_BATCH", 2 * number, "SOLVER.MAX_ITER", 8, "DATASETS.TEST", ())

    def work(rank):
        cfg = config(folder, Path(folder, "out"), *opts)
        whole = weights_of(train(cfg))
        comm.synchronize()
        if rank == 0:
            Path(cfg.OUTPUT_DIR, "model_final.pth").unlink()
            Path(cfg.OUTPUT_DIR, "model_0000007.pth").unlink()
        comm.synchronize()
        resumed = train(cfg, resume=True)
        return {"whole": whole, "resumed": weights_of(resumed), "start": resumed.start_iter}

    return launched(folder, number, work)


def trained_by_command(folder, machines, processes):
    """Trains by `occ-order train` as on several machines, all in one folder.

    Where Detectron2 starts Python anew for each process of a machine, here they are forked.

    Returns:
        {"weights": of the last checkpoint, "files": names of what was written}.
    """
    Path(folder).mkdir()
    write_images(folder)
    out, batch = Path(folder, "out"), 4
    opts = ("SOLVER.IMS_PER_BATCH", batch, "SOLVER.MAX_ITER", 3, "DATASETS.TEST", ())
    settings = Path(folder, "toy.yaml")
    settings.write_text(config(folder, out, *opts).dump())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["train", "--config-file", str(settings), "--num-gpus", str(processes)]
    words += ["--num-machines", str(machines), "--dist-url", f"tcp://127.0.0.1:{port}"]

    def ended(pids):
        if any(os.waitpid(pid, 0)[1] for pid in pids):
            raise RuntimeError("a process failed")

    def start_processes(function, nprocs, args, daemon):
        ended([forked(function, local, *args) for local in range(nprocs)])

    def machine(rank):
        torch.multiprocessing.start_processes = start_processes
        if command([*words, "--machine-rank", str(rank)]):
            raise RuntimeError("the command failed")

    ended([forked(machine, rank) for rank in range(machines)])
    saved = torch.load(out / "model_final.pth", weights_only=True)["model"]
    weights = torch.cat([value.flatten() for value in saved.values()]).tolist()
    return {"weights": weights, "files": sorted(file.name for file in out.iterdir())}


def spoiled_together(folder, number):
    """The last process has a NaN loss at iteration 2.

    Returns:
        For each process {"said", "same": whether its weights are those before that iteration}.
    """
    write_images(folder)

    class SpoiledNet(ToyNet):
        calls = 0

        def forward(self, batch):
            losses = super().forward(batch)
            self.calls += 1
            spoil = self.calls == 3 and comm.get_rank() == number - 1
            return {k: v * float("nan") if spoil else v for k, v in losses.items()}

    class Spoils(QuietTrainer):
        @classmethod
        def build_model(cls, cfg):
            return SpoiledNet(device="cpu")

        def before_step(self):
            super().before_step()
            self.before = weights_of(self)

    def work(rank):
        opts = ("SOLVER.IMS_PER_BATCH", 2 * number, "DATASETS.TEST", ())
        trainer = Spoils(config(folder, Path(folder, "out"), *opts))
        try:
            trainer.train()
        except FloatingPointError as error:
            return {"said": str(error), "same": weights_of(trainer) == trainer.before}
        return {"said": "", "same": False}

    return launched(folder, number, work)


STAGED = "configs/SLN/sln_staged_mini_scenes.yaml"
NARROW = [
    *("MODEL.MINI_RESNET.WIDTH", 4, "MODEL.MINI_RESNET.BLOCKS", [1, 1, 1, 1]),
    *("MODEL.FPN.OUT_CHANNELS", 8, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8),
    *("MODEL.SLN.GLOBAL_LAYERING.CONV_DIM", 8, "MODEL.SLN.REFINEMENT.CONV_DIM", 8),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", 8, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 10, "INPUT.MIN_SIZE_TRAIN", (64,)),
    *("SOLVER.MAX_ITER", 10, "SOLVER.IMS_PER_BATCH", 4, "SOLVER.WARMUP_ITERS", 0),
    *("DATASETS.TRAIN", ("staged",), "DATASETS.TEST", (), "SEED", 5),
]


def staged_together(folder, number):
    """Trains SLN stage by stage in several processes, on four generated scenes.

    Returns:
        For each process, for each iteration {"stage", "changed": parts of the network with changed
        weights, "still": parts of which some weight did not change, "weights": digest of them all}.
    """
    made = scene_parameters(train=4, seed=5, size=(64, 64), instances=(3, 4))
    make(folder, made)
    register_cocoa("staged", f"{folder}/annotations/cocoa_train.json", f"{folder}/train/images")
    cfg = load_cfg(Path(__file__).resolve().parents[1] / STAGED, NARROW)
    cfg.OUTPUT_DIR = str(Path(folder, "out"))

    class Watching(QuietTrainer):
        steps: ClassVar[list] = []

        def network(self):
            return getattr(self.model, "module", self.model)

        def before_step(self):
            super().before_step()
            self.before = {k: v.clone() for k, v in self.network().named_parameters()}

        def after_step(self):
            moved = {k: not v.equal(self.before[k]) for k, v in self.network().named_parameters()}
            self.steps.append(
                {
                    "stage": self.network().stages.at(self.iter),
                    "changed": sorted({k.split(".")[0] for k, moves in moved.items() if moves}),
                    "still": sorted({k.split(".")[0] for k, moves in moved.items() if not moves}),
                    "weights": digest(self.network()),
                }
            )
            super().after_step()

    def work(rank):
        assert type(train(cfg, trainer=Watching).model).__name__ == "DistributedDataParallel"
        return Watching.steps

    return launched(folder, number, work)


def digest(model):
    """A short text that differs where any weight differs."""
    hashed = hashlib.sha256()
    for value in model.parameters():
        hashed.update(value.detach().numpy().tobytes())
    return hashed.hexdigest()


# --- a process that does this for the tests: one line of JSON in, one out


def serve(questions, answers):
    """Answers `[name of a function, arguments]` until the input ends."""
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    for line in questions:
        name, args = json.loads(line)
        try:
            answer = {"value": SERVED[name](*args)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


SERVED = {
    "kills": kills,
    "full_disk": full_disk,
    "evaluations": evaluations,
    "train_together": train_together,
    "trained_by_command": trained_by_command,
    "spoiled_together": spoiled_together,
    "staged_together": staged_together,
}
