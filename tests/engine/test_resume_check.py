"""Checkpoints with odd content: each is refused before anything of the run is changed, by an error that names file and key."""

import copy
import math
import os

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from samplug.checkpoints import WeightsError, read_checkpoint
from samplug.commands.common import build_runner
from samplug.utils.errors import ConfigError
from tests.engine.test_interruption import config

NAN, HUGE = math.nan, 10**9


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def endless():
    value = []
    value.append(value)
    return value


def doubled(times):
    value = [0]
    for _ in range(times):
        value = [value, value]
    return value


def history(values=(1.0,), counts=(1,), **others):
    made = HistoryBuffer(list(values), list(counts))
    vars(made).update(others)
    return made


def foreign(optimizer, **settings):
    """The state of another optimiser over the same number of parameters."""

    def change(checkpoint):
        groups = checkpoint["optimizer"]["param_groups"]
        shapes = [state["exp_avg"].shape for state in checkpoint["optimizer"]["state"].values()]
        parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
        other = optimizer(parameters, lr=0.1, **settings)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        other.step()
        checkpoint["optimizer"] = other.state_dict()
        assert len(groups) == len(other.param_groups)

    return change


def put(*path, value):
    """Replace the entry at a path."""

    def change(checkpoint):
        *parents, last = path
        for key in parents:
            checkpoint = checkpoint[key]
        checkpoint[last] = value

    return change


def drop(*path):
    def change(checkpoint):
        *parents, last = path
        for key in parents:
            checkpoint = checkpoint[key]
        del checkpoint[last]

    return change


META, STATE = ("meta",), ("meta", "samplug_state")
GENERATORS = (*STATE, "generators")
HUB, INFO = ("message_hub",), ("message_hub", "runtime_info")
OPTIM, GROUP = ("optimizer",), ("optimizer", "param_groups", 0)
FIRST = ("optimizer", "state", 0)
SCHEDULES, SCHEDULE = ("param_schedulers",), ("param_schedulers", 0)
EMA = "module.decode_head.conv1_1.weight"

# Text of the message, and change of the checkpoint.
ODD = [
    # meta
    ("meta is 5, expected a dict", put("meta", value=5)),
    ("meta is a list of 0", put("meta", value=[])),
    (r"meta is a dict without 'iter'", drop(*META, "iter")),
    (r"meta is a dict without 'epoch'", drop(*META, "epoch")),
    ("meta.iter is '4'", put(*META, "iter", value="4")),
    ("meta.iter is 4.0", put(*META, "iter", value=4.0)),
    ("meta.iter is True", put(*META, "iter", value=True)),
    ("meta.iter is None", put(*META, "iter", value=None)),
    ("meta.iter is -1", put(*META, "iter", value=-1)),
    ("meta.iter is a tensor", put(*META, "iter", value=torch.tensor([4, 4]))),
    ("has run 1000000000 iterations, and max_iters is 8", put(*META, "iter", value=HUGE)),
    ("has run more than 10.15 iterations, and max_iters is 8", put(*META, "iter", value=10**5000)),
    ("meta.epoch is 'first'", put(*META, "epoch", value="first")),
    ("meta.epoch is -1", put(*META, "epoch", value=-1)),
    ("meta.cfg is 7, expected a text", put(*META, "cfg", value=7)),
    ("meta.cfg is a dict", put(*META, "cfg", value=dict(a=1))),
    ("meta.experiment_name is a list", put(*META, "experiment_name", value=["a"])),
    ("meta.seed is 'zero'", put(*META, "seed", value="zero")),
    ("meta.seed is -1", put(*META, "seed", value=-1)),
    ("meta.seed is 4294967296", put(*META, "seed", value=2**32)),
    ("meta.dataset_meta is a list", put(*META, "dataset_meta", value=[1])),
    ("meta.dataset_meta is nested deeper", put(*META, "dataset_meta", "classes", value=nested(100_000))),
    ("meta.samplug_omitted is not the names", put(*META, "samplug_omitted", value=[1])),
    ("meta.samplug_omitted is not the names", put(*META, "samplug_omitted", value=dict(names=[3], sha256=""))),
    # samplug's own state
    ("meta.samplug_state is 'x'", put(*STATE, value="x")),
    (r"samplug_state is a dict without 'gradients'", drop(*STATE, "gradients")),
    (r"samples_seen is 1000000000000000", put(*STATE, "samples_seen", value=10**15)),
    ("samples_seen is -2", put(*STATE, "samples_seen", value=-2)),
    ("samples_seen is 'many'", put(*STATE, "samples_seen", value="many")),
    ("generators is a dict", put(*GENERATORS, value={})),
    (r"generators\[0\] is None", put(*GENERATORS, 0, value=None)),
    (r"generators\[0\].python is a list of 2", put(*GENERATORS, 0, "python", value=[3, []])),
    (r"generators\[0\] is refused", put(*GENERATORS, 0, "python", 1, value=[1, 2])),
    (r"generators\[0\] is refused", put(*GENERATORS, 0, "python", 0, value=99)),
    (r"generators\[0\] is refused", put(*GENERATORS, 0, "python", 1, value=None)),
    (r"numpy\[1\] is a tensor of the shape \(3,\)", put(*GENERATORS, 0, "numpy", 1, value=torch.zeros(3).long())),
    (r"numpy\[2\] is 1000000000", put(*GENERATORS, 0, "numpy", 2, value=HUGE)),
    (r"generators\[0\] is refused", put(*GENERATORS, 0, "numpy", 0, value="PCG64")),
    (r"generators\[0\] is refused", put(*GENERATORS, 0, "torch", value=torch.zeros(9, dtype=torch.uint8))),
    (r"generators\[0\].torch is 1", put(*GENERATORS, 0, "torch", value=1)),
    (r"generators\[0\].cuda is a tensor", put(*GENERATORS, 0, "cuda", value=torch.zeros(3))),
    ("gradients is a list", put(*STATE, "gradients", value=[])),
    ("gradients is a dict with 'nowhere'", put(*STATE, "gradients", value=dict(nowhere=torch.zeros(1)))),
    (
        r"gradients\['decode_head.conv1_1.weight'\] is a tensor of the shape \(1,\)",
        put(*STATE, "gradients", value={"decode_head.conv1_1.weight": torch.zeros(1)}),
    ),
    # message hub
    ("message_hub is 'x'", put("message_hub", value="x")),
    ("message_hub is a dict without 'resumed_keys'", drop(*HUB, "resumed_keys")),
    ("log_scalars is a list", put(*HUB, "log_scalars", value=[])),
    ("log_scalars is a dict with the key 3", put(*HUB, "log_scalars", value={3: history()})),
    ("log_scalars.*max_length is 0", put(*HUB, "log_scalars", "train/loss", value=history(max_length=0))),
    ("log_scalars.*values is a list", put(*HUB, "log_scalars", "train/loss", value=history(_log_history=[1]))),
    ("log_scalars.*counts is an array of 2", put(*HUB, "log_scalars", "train/loss", value=history(_count_history=np.ones(2)))),
    ("log_scalars.*expected a log history", put(*HUB, "log_scalars", "train/loss", value=history(mean=3))),
    ("runtime_info is a list", put(*INFO, value=[1])),
    ("runtime_info is a dict with the key 5", put(*INFO, 5, value="five")),
    ("runtime_info is nested deeper", put(*INFO, "own", value=nested(100_000))),
    ("runtime_info is nested deeper", put(*INFO, "own", value=endless())),
    ("runtime_info is nested deeper", put(*INFO, "own", value=doubled(40))),
    ("runtime_info is a torch.sparse_coo", put(*INFO, "own", value=torch.eye(2).to_sparse())),
    (r"keep_ckpt_ids\[1\] is '../x'", put(*INFO, "keep_ckpt_ids", value=[2, "../x"])),
    ("keep_ckpt_ids is 3", put(*INFO, "keep_ckpt_ids", value=3)),
    ("best_score is 'good'", put(*INFO, "best_score", value="good")),
    ("best_ckpt is 3", put(*INFO, "best_ckpt", value=3)),
    ("early_stopping_S is a list of 1", put(*INFO, "early_stopping_S", value=[1])),
    (r"early_stopping_S\[1\] is '0'", put(*INFO, "early_stopping_S", value=[0.5, "0"])),
    ("resumed_keys is a list", put(*HUB, "resumed_keys", value=["iter"])),
    ("resumed_keys.iter is a tensor", put(*HUB, "resumed_keys", "iter", value=torch.ones(2))),
    # optimiser
    ("optimizer is 3", put("optimizer", value=3)),
    ("optimizer is a dict without 'param_groups'", drop(*OPTIM, "param_groups")),
    ("optimizer is a dict without 'state'", drop(*OPTIM, "state")),
    ("param_groups is a dict", put(*OPTIM, "param_groups", value={})),
    ("param_groups is a list of 0, expected the 1 groups", put(*OPTIM, "param_groups", value=[])),
    (r"param_groups\[0\] is 'x'", put(*GROUP, value="x")),
    (r"param_groups\[0\].params is a list of 2", put(*GROUP, "params", value=[0, 1])),
    (r"param_groups\[0\].params is 5", put(*GROUP, "params", value=5)),
    (r"param_groups\[0\] is a dict without 'lr'", drop(*GROUP, "lr")),
    (r"param_groups\[0\] is a group that does not fit \(lacks 'betas'\)", drop(*GROUP, "betas")),
    (r"param_groups\[0\].lr is nan", put(*GROUP, "lr", value=NAN)),
    (r"param_groups\[0\].lr is -1", put(*GROUP, "lr", value=-1)),
    (r"param_groups\[0\].lr is 'fast'", put(*GROUP, "lr", value="fast")),
    (r"param_groups\[0\].lr is inf", put(*GROUP, "lr", value=math.inf)),
    (r"param_groups\[0\].lr is a number of", put(*GROUP, "lr", value=10**400)),
    (r"param_groups\[0\].initial_lr is None", put(*GROUP, "initial_lr", value=None)),
    (r"param_groups\[0\].betas is a list of 3", put(*GROUP, "betas", value=[0.9, 0.9, 0.9])),
    (r"param_groups\[0\] is a group that does not fit \(Invalid beta", put(*GROUP, "betas", value=(0.9, 7.0))),
    (r"param_groups\[0\] is a group that does not fit \(Invalid weight", put(*GROUP, "weight_decay", value=-1.0)),
    (r"param_groups\[0\].eps is 'small'", put(*GROUP, "eps", value="small")),
    (r"param_groups\[0\].amsgrad is 3", put(*GROUP, "amsgrad", value=3)),
    ("optimizer.state is a list", put(*OPTIM, "state", value=[])),
    ("optimizer.state is empty, expected states of AdamW", put(*OPTIM, "state", value={})),
    ("optimizer.state is a state of 100000", put(*OPTIM, "state", 100000, value={})),
    (r"state\[0\] is 3", put(*FIRST, value=3)),
    (r"state\[0\] is a state of step, exp_avg, expected", drop(*FIRST, "exp_avg_sq")),
    (r"state\[0\].exp_avg is a tensor of the shape \(1,\)", put(*FIRST, "exp_avg", value=torch.zeros(1))),
    (r"state\[0\].exp_avg is 'x'", put(*FIRST, "exp_avg", value="x")),
    (r"state\[0\].exp_avg is None", put(*FIRST, "exp_avg", value=None)),
    (r"state\[0\].exp_avg is a tensor with NaN", put(*FIRST, "exp_avg", value=torch.full((16, 48), NAN))),
    (r"state\[0\].exp_avg is a torch.sparse_coo", put(*FIRST, "exp_avg", value=torch.zeros(16, 48).to_sparse())),
    (r"state\[0\].exp_avg is a torch.strided tensor", put(*FIRST, "exp_avg", value=torch.zeros(16, 48, device="meta"))),
    (r"state\[0\].exp_avg is a tensor", put(*FIRST, "exp_avg", value=torch.zeros(16, 48).long())),
    (r"state\[0\].step is a tensor of -1.0", put(*FIRST, "step", value=torch.tensor(-1.0))),
    ("does not fit.*'betas'|state of momentum_buffer", foreign(torch.optim.SGD, momentum=0.9)),
    ("does not fit.*'betas'|state of", foreign(torch.optim.Adagrad)),
    ("base_param_settings", put(*OPTIM, "base_param_settings", value=dict(lr=1))),
    ("loss_scaler is 'x'", put(*OPTIM, "loss_scaler", value="x")),
    ("loss_scaler.scale is nan", put(*OPTIM, "loss_scaler", value=dict(scale=NAN))),
    ("loss_scaler.scale is 0", put(*OPTIM, "loss_scaler", value=dict(scale=0))),
    ("loss_scaler is a dict without 'growth_factor'", put(*OPTIM, "loss_scaler", value=dict(scale=1.0))),
    # schedules
    ("param_schedulers is 'x'", put(*SCHEDULES, value="x")),
    ("param_schedulers is a dict", put(*SCHEDULES, value={})),
    (r"param_schedulers is 0 schedules, expected 1 as in the config \(Cosine", put(*SCHEDULES, value=[])),
    ("without the state of schedules.*resume_schedule='config'", drop(*SCHEDULES)),
    (r"param_schedulers\[0\] is 3", put(*SCHEDULE, value=3)),
    (r"param_schedulers\[0\] is a state that differs in 'T_max'", drop(*SCHEDULE, "T_max")),
    (r"param_schedulers\[0\] is a state that differs in 'step'", put(*SCHEDULE, "step", value=3)),
    (r"T_max is 'long'", put(*SCHEDULE, "T_max", value="long")),
    (r"whose next step fails \(ZeroDivisionError", put(*SCHEDULE, "T_max", value=0)),
    (r"eta_min is nan", put(*SCHEDULE, "eta_min", value=NAN)),
    (r"last_step is None", put(*SCHEDULE, "last_step", value=None)),
    (r"_global_step is 1000000000", put(*SCHEDULE, "_global_step", value=HUGE)),
    (r"_global_step is -5", put(*SCHEDULE, "_global_step", value=-5)),
    (r"by_epoch is True", put(*SCHEDULE, "by_epoch", value=True)),
    (r"param_name is 'weight'", put(*SCHEDULE, "param_name", value="weight")),
    (r"base_values is a list of 3", put(*SCHEDULE, "base_values", value=[1, 2, 3])),
    (r"base_values\[0\] is nan", put(*SCHEDULE, "base_values", value=[NAN])),
    (r"_last_value is 1", put(*SCHEDULE, "_last_value", value=1)),
    # averaged weights
    ("ema_state_dict is 3", put("ema_state_dict", value=3)),
    ("ema_state_dict is a dict with the key 3", put("ema_state_dict", value={3: torch.zeros(1)})),
    (f"ema_state_dict is a dict without it, expected an entry '{EMA}'", drop("ema_state_dict", EMA)),
    ("ema_state_dict is a dict without it, expected an entry 'steps'", drop("ema_state_dict", "steps")),
    ("ema_state_dict is a dict with 'module.other'", put("ema_state_dict", "module.other", value=torch.zeros(1))),
    ("ema_state_dict.*is 'x'", put("ema_state_dict", EMA, value="x")),
    ("ema_state_dict.*of the shape", put("ema_state_dict", EMA, value=torch.zeros(1))),
    ("ema_state_dict.*with NaN", put("ema_state_dict", EMA, value=torch.full((1, 128, 1, 1), NAN))),
    ("ema_state_dict.steps is a tensor of -1", put("ema_state_dict", "steps", value=torch.tensor(-1))),
    ("state_dict is.*'decode_head.conv1_1.weight'", drop("state_dict", EMA.removeprefix("module."))),
    ("state_dict is a list", put("state_dict", value=[1])),
    ("'state_dict'", drop("state_dict")),
]  # fmt: skip


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The content of a checkpoint after 4 of 8 iterations."""
    folder = tmp_path_factory.mktemp("half")
    cfg = config(folder, False)
    cfg.train_cfg.max_iters = 4
    cfg.default_hooks.checkpoint.interval = 4
    cfg.param_scheduler[0].end = 8
    build_runner(cfg).train()
    return read_checkpoint(folder / "iter_4.pth")


def ready(folder, cfg=None):
    """A Runner that is ready to load a checkpoint."""
    runner = build_runner(cfg or config(folder, False))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.call_hook("before_run")
    runner._resume = True
    return runner


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    return ready(tmp_path_factory.mktemp("waiting"))


def resume(runner, content, file="odd.pth"):
    runner._opened = content
    try:
        runner.resume(file)
    finally:
        runner._opened = None


def copied(checkpoint):
    """Copy containers, and share the tensors."""
    if isinstance(checkpoint, dict):
        return {key: copied(value) for key, value in checkpoint.items()}
    if isinstance(checkpoint, list):
        return [copied(value) for value in checkpoint]
    return copy.copy(checkpoint) if isinstance(checkpoint, HistoryBuffer) else checkpoint


def fingerprint(runner):
    hub = runner.message_hub
    return (
        [value._version for value in runner.model.state_dict().values()],  # counts changes in place
        len(runner.optim_wrapper.optimizer.state),
        [scheduler.state_dict() for scheduler in runner.param_schedulers],
        dict(hub.runtime_info),
        (runner.iter, runner.epoch, runner.train_loop.samples_seen),
        torch.get_rng_state().sum(),
    )


@pytest.mark.parametrize(("message", "change"), ODD, ids=[message for message, _ in ODD])
def test_odd_content_is_refused(half, waiting, message, change):
    content = copied(half)
    change(content)
    before = fingerprint(waiting)
    with pytest.raises((WeightsError, ConfigError), match=message) as caught:
        resume(waiting, content)
    text = str(caught.value)
    assert "odd.pth" in text
    assert len(text) < 400
    assert "\n" not in text
    assert fingerprint(waiting) == before


def test_sound_content_is_taken_after_all_refusals(half, waiting):
    resume(waiting, copied(half))
    assert (waiting.iter, waiting.epoch, waiting.train_loop.samples_seen) == (4, 0, 8)
    assert len(waiting.optim_wrapper.optimizer.state) == len(half["optimizer"]["state"])
    assert waiting.param_schedulers[0].last_step == 4


def test_after_an_error_another_file_is_read(half, waiting, tmp_path):
    odd = copied(half)
    odd["meta"]["iter"] = -1
    for name, content in (("odd.pth", odd), ("sound.pth", half)):
        torch.save(content, tmp_path / name)
    with pytest.raises(WeightsError, match=r"odd\.pth: meta.iter is -1"):
        waiting.resume(str(tmp_path / "odd.pth"))
    waiting.resume(str(tmp_path / "sound.pth"))
    assert waiting.iter == 4


def test_newest_file_with_odd_content_stops_the_run(half, tmp_path):
    """A damaged file is skipped; skipping an intact file that does not fit would hide an error in the config."""
    odd = copied(half)
    odd["meta"]["iter"] = -1
    torch.save(odd, tmp_path / "iter_4.pth")
    torch.save(half, tmp_path / "iter_2.pth")
    with pytest.raises(WeightsError, match=r"iter_4\.pth: meta.iter is -1.*--resume FILE"):
        ready(tmp_path).load_or_resume()


def test_names_that_are_no_files(half, tmp_path):
    from samplug.engine.resume import latest_checkpoint

    os.mkfifo(tmp_path / "iter_9.pth")
    torch.save(half, tmp_path / "iter_4.pth")
    for text in (b"", b"\xff\xfe.pth", b"a" * 5000 + b".pth", b"/" + b"a" * 300 + b".pth", b"\0.pth", b"iter_9.pth"):
        (tmp_path / "last_checkpoint").write_bytes(text)
        assert latest_checkpoint(tmp_path)[0] == tmp_path / "iter_4.pth"


# --- what is in force ------------------------------------------------------------------------------------------------------------


def schedule(by_epoch, length):
    """Warm-up by iterations, decay by iterations or epochs, and a factor on top of both."""
    return [
        dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=3),
        dict(type="CosineAnnealingLR", by_epoch=by_epoch, begin=0 if by_epoch else 3, end=length, eta_min=1e-5),
        dict(type="StepLR", by_epoch=False, step_size=2, gamma=0.5),
    ]


def planned(folder, by_epoch, length, lr=1e-3, **settings):
    cfg = config(folder, by_epoch, custom_hooks=[], **settings)
    cfg.train_cfg["max_epochs" if by_epoch else "max_iters"] = length
    cfg.param_scheduler = schedule(by_epoch, length)
    cfg.optim_wrapper.optimizer.lr = lr
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=5)
    return cfg


def rates(runner, until):
    """Rates of the iterations up to one, by the hooks of the training."""
    loop, found = runner.train_loop, []
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "ParamSchedulerHook")
    while loop._iter < until:
        found.append([group["lr"] for group in runner.optim_wrapper.optimizer.param_groups])
        hook.after_train_iter(runner, 0)
        loop._iter += 1
        if loop.__class__.__name__.startswith("Epoch") and loop._iter % len(loop.dataloader) == 0:
            hook.after_train_epoch(runner)
            loop._epoch += 1
    return found


def state_at(runner, iteration):
    """Return the checkpoint that the hooks of a Runner write at an iteration."""
    rates(runner, iteration)
    for group in runner.optim_wrapper.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    runner.optim_wrapper.optimizer.step()
    checkpoint = dict(
        meta=dict(iter=iteration, epoch=runner.epoch, seed=0, cfg=runner.cfg.pretty_text),
        state_dict=runner.model.state_dict(),
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        optimizer=runner.optim_wrapper.state_dict(),
        param_schedulers=[scheduler.state_dict() for scheduler in runner.param_schedulers],
    )
    return copy.deepcopy(checkpoint)


def log_of(runner):
    return (runner._log_dir and open(f"{runner.log_dir}/{runner.timestamp}.log").read()) or ""


@pytest.mark.parametrize("by_epoch", [False, True])
def test_extended_schedule_equals_an_unbroken_run(tmp_path, by_epoch):
    """With resume_schedule='config' rates equal those of the longer run, bit by bit; otherwise the old rates continue."""
    short, long, at, end = (2, 5, 6, 14) if by_epoch else (8, 14, 6, 14)
    checkpoint = state_at(ready(tmp_path / "short", planned(tmp_path / "short", by_epoch, short)), at)
    unbroken = rates(ready(tmp_path / "whole", planned(tmp_path / "whole", by_epoch, long, lr=3e-3)), end)
    cfg = planned(tmp_path / "new", by_epoch, long, lr=3e-3, resume_schedule="config")
    cfg.optim_wrapper.optimizer.weight_decay = 0.25
    runner = ready(tmp_path / "new", cfg)
    resume(runner, copied(checkpoint))
    group = runner.optim_wrapper.optimizer.param_groups[0]
    assert group["weight_decay"] == 0.25
    assert len(runner.optim_wrapper.optimizer.state) == len(checkpoint["optimizer"]["state"])
    line = [line for line in log_of(runner).splitlines() if "learning rate" in line]
    assert len(line) == 1
    assert f"learning rate {group['lr']:.4g} at" in line[0]
    assert "schedule of the config (resume_schedule='config')" in line[0]
    assert rates(runner, end) == unbroken[at:]

    kept = ready(tmp_path / "kept", planned(tmp_path / "kept", by_epoch, long, lr=3e-3))
    resume(kept, copied(checkpoint))
    assert [s.state_dict() for s in kept.param_schedulers] == checkpoint["param_schedulers"]
    (line,) = [line for line in log_of(kept).splitlines() if "NOT in force" in line]
    assert "lr 0.003 (in force: 0.001)" in line
    assert f"CosineAnnealingLR.end {long} (in force: {short})" in line
    assert f"CosineAnnealingLR until {'epoch' if by_epoch else 'iteration'} {short}" in line
    assert "resume_schedule='config' takes" in line


def test_settings_that_differ_are_said_once(tmp_path):
    checkpoint = state_at(ready(tmp_path / "old", planned(tmp_path / "old", False, 8)), 4)
    cfg = planned(tmp_path / "new", False, 8)
    cfg.optim_wrapper.optimizer.update(betas=(0.8, 0.99), weight_decay=0.5, amsgrad=True)
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.train_dataloader.batch_size = 4
    runner = ready(tmp_path / "new", cfg)
    resume(runner, copied(checkpoint))
    (line,) = [line for line in log_of(runner).splitlines() if "NOT in force" in line]
    for part in (
        "betas (0.8, 0.99) (in force: (0.9, 0.999))",
        "weight_decay 0.5 (in force: 0.01)",
        "amsgrad True (in force: False)",
        "train_dataloader.batch_size 4 (was 2)",
        "optim_wrapper.accumulative_counts 2 (was None)",
    ):
        assert part in line
    assert "lr 0." not in line
    same = ready(tmp_path / "same", planned(tmp_path / "same", False, 8))
    resume(same, copied(checkpoint))
    assert "in force" not in log_of(same)
    (line,) = [line for line in log_of(same).splitlines() if "learning rate" in line]
    assert " INFO " in line
    # Optimisers may differ even if their states have equal shapes.
    other = planned(tmp_path / "other", False, 8)
    other.optim_wrapper.optimizer.type = "NAdam"
    with pytest.raises(WeightsError, match=r"does not fit|state of"):
        resume(ready(tmp_path / "other", other), copied(checkpoint))
    wrong = planned(tmp_path / "wrong", False, 8, resume_schedule="new")
    with pytest.raises(ConfigError, match=r"resume_schedule='new'.*checkpoint, config"):
        resume(ready(tmp_path / "wrong", wrong), copied(checkpoint))


def test_other_groups_of_parameters(tmp_path):
    """Parameter groups cannot change; their settings come from the checkpoint or the config."""
    checkpoint = state_at(ready(tmp_path / "old", planned(tmp_path / "old", False, 8)), 4)
    cfg = planned(tmp_path / "new", False, 8, resume_schedule="config")
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=dict(decode_head=dict(lr_mult=0.1)))
    with pytest.raises(WeightsError, match=r"param_groups is a list of 1, expected the 2 groups.*paramwise_cfg"):
        resume(ready(tmp_path / "new", cfg), copied(checkpoint))


def test_plateau_schedules_stay_with_the_checkpoint(tmp_path):
    def cfg(name, **settings):
        made = planned(tmp_path / name, False, 8, **settings)
        made.param_scheduler = [dict(type="ReduceOnPlateauLR", monitor="MAE", rule="less", patience=5)]
        return made

    runner = ready(tmp_path / "old", cfg("old"))
    runner.param_schedulers[0].step(dict(MAE=0.3))
    checkpoint = state_at(runner, 4)
    kept = ready(tmp_path / "kept", cfg("kept"))
    resume(kept, copied(checkpoint))
    assert kept.param_schedulers[0].best == 0.3
    with pytest.raises(ConfigError, match="ReduceOnPlateauLR depends on earlier validations"):
        resume(ready(tmp_path / "new", cfg("new", resume_schedule="config")), copied(checkpoint))


def test_finished_run_says_so(tmp_path, half):
    """A run at its last iteration repeats a validation that was due; one beyond it has nothing to do."""
    content = copied(half)
    content["meta"]["iter"] = 8
    cfg = config(tmp_path, False)
    cfg.param_scheduler[0].end = 8
    runner = ready(tmp_path, cfg)
    resume(runner, content)
    assert "has already run 8 of 8 iterations: extend with a larger max_iters" in log_of(runner)


def test_weights_alone_start_a_run_with_averaging(half, tmp_path):
    runner = ready(tmp_path)
    runner._resume = False
    runner._opened = dict(half["state_dict"])
    runner.load_checkpoint("weights.pth")
    assert all(torch.equal(value, half["state_dict"][key]) for key, value in runner.model.state_dict().items())


def test_the_stored_config_is_not_taken_over(half, waiting):
    """Its text and name would otherwise be in the checkpoints of the resumed run."""
    content = copied(half)
    content["meta"] |= dict(cfg="theirs = 1\n", experiment_name="theirs")
    content["message_hub"]["runtime_info"] |= dict(cfg="theirs = 1\n", experiment_name="theirs")
    resume(waiting, content)
    assert "theirs" not in str(waiting.message_hub.runtime_info)
    assert "theirs" not in waiting.cfg.pretty_text


def test_best_checkpoint_of_a_copied_folder(half, tmp_path):
    """The best checkpoint of the original is not deleted when the copy finds a better one."""
    original, own = tmp_path / "original", tmp_path / "own"
    cfg = config(own, False)
    cfg.default_hooks.checkpoint.update(save_best="S")
    runner = ready(own, cfg)
    original.mkdir()
    theirs = original / "best_S_iter_2.pth"
    theirs.write_text("best")
    content = copied(half)
    content["message_hub"]["runtime_info"]["best_ckpt"] = str(theirs)
    resume(runner, content)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "CheckpointHook")
    hook.before_train(runner)
    assert hook.best_ckpt_path is None
    (own / theirs.name).write_text("copied")
    hook.before_train(runner)
    assert hook.best_ckpt_path == str(own / theirs.name)
    assert theirs.is_file()
