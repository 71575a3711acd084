"""Training and testing in several processes, without GPUs."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from mmengine.structures import InstanceData
from torch import nn

from samplug.engine.launch import join_on_cpu
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from samplug.utils.imports import quiet_optional_operators
from tests.builders import tiny_tssam_cfg
from tests.conftest import ROOT
from tests.ranks import end, free_port, outputs, run_ranks, shell, start

with quiet_optional_operators():
    from mmseg.structures import SegDataSample

TINY = ["data_size=48", "img_size=32", "train_length=8", "test_length=5", "max_iters=2", "num_workers=0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    run = shell("dist_train.sh", "configs/quickstart.py", 2, "--work-dir", out, "--cfg-options", *TINY)
    return out, run


def test_two_processes_train(trained):
    out, run = trained
    assert (out / "last_checkpoint").read_text().endswith("iter_2.pth")
    assert len(list(out.glob("*/*.log"))) == 1  # rank 0 speaks for both
    assert re.search(r"Iter\(train\) +\[2/2\]", run.stdout + run.stderr) or (out / "iter_2.pth").is_file()


def test_two_processes_refuse_an_odd_checkpoint_together(trained, tmp_path):
    """If the entries of one rank are wrong, the other rank stops too instead of waiting."""
    checkpoint = torch.load(trained[0] / "iter_2.pth", weights_only=False)
    checkpoint["meta"]["samplug_state"]["generators"][1]["torch"] = torch.zeros(3, dtype=torch.uint8)
    odd = tmp_path / "odd.pth"
    torch.save(checkpoint, odd)
    command = ["configs/quickstart.py", 2, "--work-dir", tmp_path / "run", "--resume", odd, "--cfg-options", *TINY]
    run = shell("dist_train.sh", *command, "max_iters=4", ok=False)
    text = run.stdout + run.stderr
    assert re.search(r"odd\.pth: meta\.samplug_state\.generators\[1\] is refused", text), text[-3000:]
    assert "restore_generators" not in text  # in the launcher's traceback: only then would a generator be set


def test_two_processes_test_as_one(trained, tmp_path):
    """Five images over two ranks: one is padded, none counts twice."""
    out, _ = trained
    evaluators = ["test_evaluator.0.out_file={}/{}.json"]
    scores = {}
    for name, processes in (("two", 2), ("one", 1)):
        options = [*TINY, *(line.format(tmp_path, name) for line in evaluators), "test_dataloader.batch_size=2"]
        shell(
            "dist_test.sh",
            "configs/quickstart.py",
            out / "iter_2.pth",
            processes,
            "--work-dir",
            tmp_path / name,
            "--cfg-options",
            *options,
        )
        scores[name] = json.loads((tmp_path / f"{name}.json").read_text())
    assert set(scores["two"]["images"]) == set(scores["one"]["images"])
    assert len(scores["one"]["images"]) == 5
    assert scores["two"]["summary"] == pytest.approx(scores["one"]["summary"], abs=1e-4)


def test_two_nodes_on_one_host(tmp_path):
    """The same command on each node, told apart by NODE_RANK."""
    port = free_port()
    command = [
        "bash",
        "tools/dist_train.sh",
        "configs/quickstart.py",
        1,
        "--work-dir",
        tmp_path,
        "--cfg-options",
        *TINY,
    ]
    outputs([start(command, NNODES=2, NODE_RANK=rank, MASTER_ADDR="127.0.0.1", PORT=port) for rank in range(2)])
    assert (tmp_path / "iter_2.pth").is_file()


def test_mistakes(tmp_path, monkeypatch):
    assert "CONFIG GPUS" in shell("dist_train.sh", ok=False).stderr
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"without RANK, WORLD_SIZE, LOCAL_RANK.*dist_train\.sh"):
        join_on_cpu("pytorch")
    with pytest.raises(ConfigError, match="start the command with srun"):
        join_on_cpu("slurm")


DIES = """
import os, signal
from mmengine.hooks import Hook
from samplug.registry import HOOKS
from samplug.utils.errors import UserError

@HOOKS.register_module()
class Dies(Hook):
    def __init__(self, how):
        self.how = how

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.rank == 1 and runner.iter == 1:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise UserError("shelf: nothing on it") if self.how == "user" else ZeroDivisionError("by my hook")
"""


@pytest.mark.parametrize(
    ("how", "said", "summed_up"),
    [
        ("user", "[rank 1] error: shelf: nothing on it", "UserError: shelf: nothing on it"),
        ("bug", "ZeroDivisionError: by my hook", "ZeroDivisionError: by my hook"),
        ("killed", "", "Signal 9 (SIGKILL)"),
    ],
)
def test_a_dying_rank_ends_all_and_its_error_is_seen(tmp_path, how, said, summed_up):
    (tmp_path / "dies.py").write_text(DIES)
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = {str(ROOT / 'configs/quickstart.py')!r}\ncustom_imports = dict(imports=['samplug', 'dies'])\n"
        f"custom_hooks = [dict(type='Dies', how={how!r})]\n"
    )
    run = shell(
        "dist_train.sh", config, 2, "--work-dir", tmp_path / "work", "--cfg-options", *TINY,
        ok=False, PYTHONPATH=f"{tmp_path}:{ROOT}",
    )  # fmt: skip
    own, _, summary = run.stderr.partition("Root Cause")
    assert said in own
    assert summed_up in summary
    assert "rank      : 1" in summary
    # The other rank, if it noticed before it was ended, has one line and no traceback, after the first error.
    assert "[rank0]:" not in own
    if "[rank 0] stopped" in own:
        assert own.index(said) < own.index("[rank 0] stopped")


SPARE = """
from torch import nn
from samplug.registry import MODELS

@MODELS.register_module()
class WithSpare(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.spare = MODELS.build(dict(type="bce_iou")), nn.Linear(2, 2)

    def forward(self, logits, target):
        return self.inner(logits, target)
"""


def test_mmengines_wrapper_finds_unused_parameters(tmp_path):
    """MMEngine's own key for the wrapper of the model works without GPUs, and the hook reads it there."""
    (tmp_path / "spare.py").write_text(SPARE)
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = {str(ROOT / 'configs/quickstart.py')!r}\ncustom_imports = dict(imports=['samplug', 'spare'])\n"
        f"model = dict(loss=dict(_delete_=True, type='WithSpare'))\n"
        f"model_wrapper_cfg = dict(type='MMDistributedDataParallel', find_unused_parameters=True)\n"
    )
    shell(
        "dist_train.sh", config, 2, "--work-dir", tmp_path / "work", "--cfg-options", *TINY, PYTHONPATH=f"{tmp_path}:{ROOT}",
    )  # fmt: skip
    assert (tmp_path / "work/iter_2.pth").is_file()
    (log,) = (tmp_path / "work").glob("*/*.log")
    assert (
        "does not depend on 2 trained parameters: loss_fn.spare.weight, loss_fn.spare.bias. They stay"
        in log.read_text()
    )


def test_mpi(tmp_path):
    """Two processes with the variables that Open MPI's mpirun gives them."""
    port = free_port()
    command = [
        sys.executable,
        "tools/train.py",
        "configs/quickstart.py",
        "--launcher",
        "mpi",
        "--work-dir",
        tmp_path,
        "--cfg-options",
        *TINY,
    ]
    outputs(
        [
            start(
                command, MASTER_PORT=port, OMPI_COMM_WORLD_SIZE=2, OMPI_COMM_WORLD_RANK=rank, OMPI_COMM_WORLD_LOCAL_RANK=rank,
            )
            for rank in range(2)
        ]
    )  # fmt: skip
    assert (tmp_path / "iter_2.pth").is_file()
    assert json.loads(next(tmp_path.glob("*/run.json")).read_text())["world_size"] == 2


@pytest.mark.parametrize(
    ("script", "fourth", "tool"), [("slurm_train.sh", "work", "train.py"), ("slurm_test.sh", "best.pth", "test.py")]
)
def test_slurm_scripts(tmp_path, script, fourth, tool):
    """Arguments of srun, printed by a replacement of it."""
    (tmp_path / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    asked = shell(
        script, "gpu", "job", "cfg.py", fourth, "--cfg-options", "a.b=c d", GPUS="16", QOS="high", ACCOUNT="lab",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    ).stdout.splitlines()  # fmt: skip
    for argument in (
        "-p",
        "gpu",
        "--job-name=job",
        "--qos=high",
        "--account=lab",
        "--ntasks=16",
        "--ntasks-per-node=8",
        "--gres=gpu:8",
    ):
        assert argument in asked
    assert asked[-5 if tool == "test.py" else -6 :][-4:] == ["--launcher", "slurm", "--cfg-options", "a.b=c d"]
    assert any(argument.endswith(tool) for argument in asked)
    assert fourth in asked


# Objects of each of four images, of which each rank has two.
OBJECTS = {
    "prompted": (1, 1, 1, 1),
    "prompted, objects": (2, 0, 3, 1),
    "prompted, none on a rank": (0, 0, 3, 1),
    "prompted, with_cp": (2, 0, 3, 1),
    "prompted, whole": (2, 0, 3, 1),
    "prompted, whole, none on a rank": (0, 0, 3, 1),
}


def prompted_gradients(objects, part, ranks, with_cp, whole):
    """Gradients of a tiny promptable SAM with simulated prompts; ``whole``: of all its parts, by first prompts of all kinds."""
    prompts = dict(type="PromptSimulator", num_correction_points=0 if whole else 2)
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="PromptableSAM",
            backbone=dict(tiny_tssam_cfg(backbone=dict(img_size=32))["backbone"], frozen=not whole),
            frozen=[] if whole else ["decode_head.prompt_encoder"],
            with_cp=with_cp,
            train_prompts=dict(prompts, box_prob=0.4, mask_prob=0.3) if whole else prompts,
        )
    )
    model.backbone.init_weights()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    samples = []
    for index in range(4):
        masks = torch.zeros(objects[index], 32, 32, dtype=torch.uint8)
        for number, mask in enumerate(masks):
            mask[4 : 12 + 4 * index, 6 : 20 + 2 * number] = 1
        sample = SegDataSample(metainfo=dict(sample_seed=(0, 0, index)))
        sample.gt_instances = InstanceData(masks=masks)
        samples.append(sample)
    chosen = slice(part * 4 // ranks, (part + 1) * 4 // ranks)
    wrapped = nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
    sum(wrapped(images[chosen], samples[chosen], mode="loss").values()).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def gradients(loss, part, ranks):
    """Gradients of a tiny model for the samples of one rank; BatchNorm frozen, since its statistics are of a rank's own batch."""
    if isinstance(loss, str) and loss in OBJECTS:
        with_cp = "with_cp" in loss and ranks > 1
        return prompted_gradients(OBJECTS[loss], part, ranks, with_cp, whole="whole" in loss)
    torch.manual_seed(0)
    model = MODELS.build(tiny_tssam_cfg(backbone=dict(img_size=32), loss=loss))
    model.init_weights()
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 32, 32, generator=generator)
    target = (
        torch.rand(4, 1, 32, 32, generator=generator) < torch.tensor([0.1, 0.2, 0.5, 0.9])[:, None, None, None]
    ).long()
    chosen = slice(part * 4 // ranks, (part + 1) * 4 // ranks)
    wrapped = nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
    logits = wrapped(images[chosen], mode="tensor")
    sum(model.loss_fn(logits, target[chosen]).values()).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def loss_of(name):
    """Argument of :func:`gradients`."""
    return name if name in OBJECTS else dict(type=name, **(dict(sync=True) if name == "balanced_bce" else {}))


@pytest.mark.parametrize("loss", ["bce_iou", "balanced_bce", *OBJECTS])
def test_two_processes_equal_one(loss, tmp_path):
    """Gradients of two synchronised processes are those of one process with the whole batch."""
    run_ranks("tests.engine.test_distributed", loss, tmp_path)
    expected = gradients(loss_of(loss), 0, 1)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-7)


def main(loss, folder):
    from mmengine.registry import init_default_scope

    init_default_scope("samplug")
    join_on_cpu("pytorch")
    rank = torch.distributed.get_rank()
    torch.save(gradients(loss_of(loss), rank, 2), f"{folder}/{rank}.pt")


if __name__ == "__main__":
    end(lambda: main(*sys.argv[1:]))


ENDS = """
import atexit, os, sys
import torch
import torch.distributed as dist
from samplug.utils.errors import UserError
from samplug.commands.run import run

class Late:
    def __del__(self):
        print("late")

def main():
    if sys.argv[2] == "alone":
        return
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
    torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
    if sys.argv[2] == "bad":
        raise UserError("no such thing")

os.environ["WORLD_SIZE"] = "2"  # as a launcher says it
late = Late()
atexit.register(print, "at exit")
sys.exit(run(main))
"""


@pytest.mark.parametrize(("how", "code"), [("good", 0), ("alone", 0), ("bad", 1)])
def test_a_rank_ends_before_the_interpreter_takes_itself_apart(tmp_path, how, code):
    """Threads of its group outlived that at times, and aborted the rank (exit code -6) after everything was done."""
    run = subprocess.run(
        [sys.executable, "-c", ENDS, str(tmp_path / "store"), how],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert run.returncode == code, run.stdout + run.stderr
    assert run.stdout == "at exit\n"
    assert ("error: no such thing" in run.stderr) == bool(code)
