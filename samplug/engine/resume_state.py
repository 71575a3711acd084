"""State that samplug adds to MMEngine's checkpoints, so that a resumed run equals an uninterrupted one."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from samplug.checkpoints import WeightsError
from samplug.engine.fsdp import gathered, is_sharded, sharded_like
from samplug.engine.resume_entry import Entry

STATE_KEY = "samplug_state"
# Generous limit: the earlier part of the run may have had larger batches or more processes.
MOST_TIMES = 256
_WORDS = 624  # size of the Mersenne Twister, whose position NumPy does not check


def training_state(runner: Runner, within_epoch: bool) -> dict[str, Any]:
    """Collect the position in the data, the random generators of all ranks and accumulated gradients.

    All ranks must call it, from a hook after a training iteration.

    Args:
        runner: The Runner.
        within_epoch: The checkpoint is not at the end of an epoch.

    Returns:
        ``samples_seen``, ``generators`` (one entry for each rank) and ``gradients`` (by parameter name, empty unless a
        step is being accumulated): tensors, numbers, strings and containers of them, which can be read without pickle.
    """
    return dict(
        samples_seen=getattr(runner.train_loop, "samples_seen", 0) if within_epoch else 0,
        generators=all_gather_object(generator_states()),
        gradients=_accumulated_gradients(runner),
    )


def generator_states() -> dict[str, Any]:
    """Return the states of the generators of Python, NumPy and torch in this process."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = dict(
        python=[version, list(words), gauss],
        numpy=[name, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, cached],
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: dict[str, Any]) -> None:
    """Restore the states that :func:`generator_states` returned."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())


def own_generators(state: dict[str, Any]) -> dict[str, Any] | None:
    """Return the generator states of this rank; None if another number of ranks wrote the checkpoint."""
    generators = state["generators"]
    return generators[get_rank()] if len(generators) == get_world_size() else None


def _accumulated_gradients(runner: Runner) -> dict[str, torch.Tensor]:
    """Return the gradients of a step that is being accumulated, by parameter name.

    They are averaged over the ranks, which have not exchanged them yet.
    """
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, OptimWrapper) or wrapper.should_update():
        return {}
    gradients = {
        name: parameter.grad for name, parameter in runner.bare_model.named_parameters() if parameter.grad is not None
    }
    if is_sharded(runner.model):  # summed over the ranks already
        return gathered(gradients)
    gradients = {name: gradient.clone() for name, gradient in gradients.items()}
    for gradient in gradients.values():
        all_reduce(gradient, "mean")
    return {name: gradient.cpu() for name, gradient in gradients.items()}


def set_accumulated_gradients(model: torch.nn.Module, gradients: dict[str, torch.Tensor]) -> None:
    """Restore the gradients of a step that was being accumulated."""
    parameters = dict(model.named_parameters())
    for name, gradient in gradients.items():
        parameter = parameters[name]
        parameter.grad = torch.empty_like(parameter).copy_(sharded_like(gradient, parameter))


def check_state(state: Entry, runner: Runner) -> None:
    """Check the result of :func:`training_state` in a checkpoint, identically in all ranks.

    Raises:
        WeightsError: An entry is missing, has another type or size, or an impossible value.
    """
    step = max(1, (runner.train_dataloader.batch_size or 1) * get_world_size())
    loop = runner.train_loop
    steps = len(runner.train_dataloader) if isinstance(loop, EpochBasedTrainLoop) else runner.max_iters
    state["samples_seen"].integer(0, MOST_TIMES * steps * step)
    for generators in state["generators"].items():
        _check_generators(generators)
    gradients = state["gradients"].named()
    parameters = dict(runner.bare_model.named_parameters()) if gradients else {}
    for name, gradient in gradients.items():
        if name not in parameters:
            state["gradients"].fail("gradients of this model's parameters", found=f"a dict with {name[:80]!r}")
        gradient.tensor(parameters[name].shape, floating=True)


def _check_generators(states: Entry) -> None:
    """Check the states by setting them on unused generators."""
    version, words, gauss = states["python"].items(3)
    name, keys, position, has_gauss, cached = states["numpy"].items(5)
    position.integer(0, _WORDS)
    keys.tensor((_WORDS,), floating=False)
    cached.number()
    try:
        random.Random().setstate((version.value, tuple(words.value), gauss.value))
        words_of_numpy = keys.value.numpy().astype(np.uint32)
        np.random.RandomState().set_state(
            (name.value, words_of_numpy, position.value, has_gauss.integer(0, 1), cached.value)
        )
        torch.Generator().set_state(states["torch"].tensor())
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        if isinstance(error, WeightsError):
            raise
        states.fail("states of Python's, NumPy's and torch's generators", found=f"refused ({str(error)[:60]})")
    if "cuda" in states.mapping():
        cuda = states["cuda"].tensor()
        if cuda.dtype != torch.uint8 or cuda.numel() != 16:
            states["cuda"].fail("a state of a GPU's generator, 16 bytes")
