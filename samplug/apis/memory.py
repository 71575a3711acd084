"""Estimate the memory and the operations of training and testing a config, without weights, data or a GPU."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from samplug.apis.dry_run import live_bytes, materialised, operations, without_memory
from samplug.apis.model import config_of
from samplug.datasets.configs import datasets_of
from samplug.engine.build_errors import named_in
from samplug.models.probe import LinearProbe
from samplug.registry import MODELS, OPTIMIZERS
from samplug.structures import ClassDataSample
from samplug.utils.errors import ConfigError, UserError
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmseg.structures import SegDataSample


_CLASSES = 1000  # of a probe whose data are not known


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of one process in bytes, and its floating point operations.

    Attributes:
        input_size: (height, width) of the network's input.
        batch_size: Images in a training step.
        amp: True for training in mixed precision.
        objects: Objects per image, for models trained with prompts.
        parameters: Number of parameters.
        trained: Number of trained parameters.
        weights: Bytes of parameters and buffers.
        gradients: Bytes of the gradients.
        optimiser: Bytes of the optimiser's state.
        activations: Bytes of the images and of the activations kept for the backward pass.
        train_peak: Peak of a training step, including all of the above and temporary tensors.
        train_image: Bytes that each image of the batch adds to ``train_peak``.
        test_peak: Peak of a forward pass without gradients.
        test_batch_size: Images in this forward pass.
        train_flops: Floating point operations of a training step per image, forward and backward.
        test_flops: Floating point operations of the forward pass per image. A multiplication and an addition count as
            two.
    """

    input_size: tuple[int, int]
    batch_size: int
    amp: bool
    objects: int
    parameters: int
    trained: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    train_peak: int
    train_image: int
    test_peak: int
    test_batch_size: int
    train_flops: int
    test_flops: int

    def largest_batch(self, memory: float) -> int:
        """Return the largest batch size whose training step fits in ``memory`` bytes; 0 if no image fits."""
        return max(0, self.batch_size + int((memory - self.train_peak) // self.train_image))


def estimate_memory(
    config: str | Path | Config,
    batch_size: int | None = None,
    amp: bool | None = None,
    objects: int | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> MemoryEstimate:
    """Estimate the memory and the operations of training and testing a config's model, from a run on fake tensors.

    The model is built, its weights are not loaded. Not counted: CUDA's context, workspaces of kernels, fragmentation,
    buckets of data parallelism, and masks at the original size of the images. A ``CachedEncoder`` counts as in its
    first epoch, in which it computes its features.

    Args:
        config: See :func:`init_model`, as is ``cfg_options``.
        batch_size: Images in a training step; None: as in the config.
        amp: Train in mixed precision (bfloat16); None: as in the config.
        objects: Objects per image, for models trained with prompts; None: the dataset's ``max_objects``, or 1.

    Raises:
        ConfigError: The model cannot be built, has no trained parameter, or defines no input size; ``batch_size`` or
            ``objects`` is below 1.
    """
    cfg = config_of(config, cfg_options)
    init_default_scope(cfg.get("default_scope", "samplug"))
    loader, wrapper = cfg.get("train_dataloader") or {}, cfg.get("optim_wrapper") or {}
    batch_size = loader.get("batch_size", 1) if batch_size is None else batch_size
    amp = "Amp" in str(wrapper.get("type")) if amp is None else amp
    objects = _most_objects(loader) if objects is None else objects
    if min(batch_size, objects) < 1:
        raise ConfigError(f"memory: batch_size={batch_size} and objects={objects} must be at least 1")
    with named_in(cfg), torch.device("meta"):
        model: Any = MODELS.build(_without_data(cfg.model))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ConfigError(f"memory: every parameter of {type(model).__name__} is frozen, nothing would be trained")
    gradients = sum(parameter.nbytes for parameter in trained)
    fixed = dict(
        weights=sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())),
        gradients=gradients,
        optimiser=round(gradients * states_for_each_byte(wrapper.get("optimizer"))),
    )
    case = _Case(_input_size(model), objects, amp)
    test_batch = (cfg.get("test_dataloader") or {}).get("batch_size", 1)
    try:
        with without_memory():
            model = materialised(model)
            test_peak, test_flops = _test(model.eval(), case.size, test_batch)
            train_flops = _train_operations(_training(model), case)
            keep = wrapper.get("accumulative_counts", 1) > 1
            other, batch = (_train(model, n, keep, case) for n in (1 if batch_size > 1 else 2, batch_size))
    except RuntimeError as error:
        if isinstance(error, UserError):
            raise
        raise ConfigError(
            f"memory: {type(model).__name__} cannot run on tensors without values: {str(error).splitlines()[0]}"
        ) from error
    # The optimiser's update holds temporary tensors for all parameters at once; activations are freed by then.
    update = fixed["weights"] + 2 * gradients + fixed["optimiser"]
    return MemoryEstimate(
        input_size=case.size,
        batch_size=batch_size,
        amp=amp,
        objects=objects,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trained=sum(parameter.numel() for parameter in trained),
        **fixed,
        activations=batch.activations,
        train_peak=max(batch.peak + fixed["optimiser"], update),
        train_image=(batch.peak - other.peak) // (batch.images - other.images),
        test_peak=test_peak,
        test_batch_size=test_batch,
        train_flops=train_flops,
        test_flops=test_flops,
    )


class _Case(NamedTuple):
    """Settings of the estimated training step."""

    size: tuple[int, int]
    objects: int
    amp: bool


class _Step(NamedTuple):
    """Memory of a training step in bytes."""

    images: int
    activations: int
    peak: int


def _training(model: Any) -> Any:
    """Switch a model to training."""
    model.train()
    if isinstance(model, LinearProbe):
        model.norm.eval()  # one image has no batch statistics
    return model


def _train(model: Any, images: int, keep_gradients: bool, case: _Case) -> _Step:
    """Run a training step without the update; ``keep_gradients``: keep the gradients of an earlier step in memory."""
    if not keep_gradients:
        model.zero_grad(set_to_none=True)
    with live_bytes(model) as live:
        before = live.now
        data = _batch(model, images, case)  # kept during the whole step, as in training
        loss = _loss(model, data, case.amp)
        activations = live.now - before
        loss.backward()
    return _Step(images, activations, live.peak)


def _train_operations(model: Any, case: _Case) -> int:
    with operations() as found:
        _loss(model, _batch(model, 1, case), case.amp).backward()
    return found.get_total_flops()


@torch.no_grad()
def _test(model: Any, size: tuple[int, int], batch_size: int) -> tuple[int, int]:
    """Return the peak memory of a forward pass, and its operations per image."""
    with live_bytes(model) as live:
        _forward(model, batch_size, size)
    with operations() as found:
        _forward(model, 1, size)
    return live.peak, found.get_total_flops()


def _forward(model: Any, images: int, size: tuple[int, int]) -> Any:
    inputs = torch.zeros(images, 3, *size)
    if isinstance(model, LinearProbe):  # as before a head was chosen: which one it is would be a value
        return model(inputs, [_labelled() for _ in range(images)], mode="predict")
    return model(inputs, mode="tensor")


def _batch(model: nn.Module, images: int, case: _Case) -> tuple[Tensor, list[Any]]:
    return torch.zeros(images, 3, *case.size), [_sample(model, case) for _ in range(images)]


def _loss(model: Any, data: tuple[Tensor, list[Any]], amp: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        return model.parse_losses(model.loss(*data))[0]


def _labelled() -> ClassDataSample:
    sample = ClassDataSample()
    sample.gt_label = torch.zeros(1, dtype=torch.long)
    return sample


def _sample(model: nn.Module, case: _Case) -> Any:
    if isinstance(model, LinearProbe):
        return _labelled()
    size = case.size
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size))
    if _is_prompted(model):
        sample.gt_instances = InstanceData(masks=torch.zeros(case.objects, *size, dtype=torch.bool))
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
    return sample


def _is_prompted(model: nn.Module) -> bool:
    return hasattr(model, "train_prompts")


def _most_objects(loader: Mapping[str, Any]) -> int:
    return max((own.get("max_objects") or 1 for own in datasets_of(loader.get("dataset"))), default=1)


def _input_size(model: Any) -> tuple[int, int]:
    size = getattr(model.data_preprocessor, "size", None) or getattr(getattr(model, "backbone", None), "img_size", None)
    if size is None:
        raise ConfigError("memory: the model defines no input size: set data_preprocessor.size")
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _without_data(model: Any) -> Any:
    """Return a model's config without parts that need files or values.

    These are a ``CachedEncoder``, clicks at the centre, and a number of classes that the data tell.
    """
    backbone, prompts = model.get("backbone") or {}, model.get("train_prompts") or {}
    changes: dict[str, Any] = {}
    if "num_classes" in model and model["num_classes"] is None:
        changes["num_classes"] = _CLASSES
    if str(backbone.get("type", "")).rpartition(".")[2] == "CachedEncoder":
        changes["backbone"] = copy.deepcopy(backbone["encoder"])
    if prompts.get("click") == "center":
        changes["train_prompts"] = {**prompts, "click": "uniform"}
    return {**model, **changes}


def states_for_each_byte(optimizer: Mapping[str, Any] | None) -> float:
    """Return the bytes of an optimiser's state per byte of parameters, measured by a step on a small parameter."""
    parameter = nn.Parameter(torch.zeros(256, 256))
    built = OPTIMIZERS.build({**(optimizer or dict(type="AdamW")), "params": [parameter]})
    parameter.grad = torch.zeros_like(parameter)
    built.step()
    states = [value for value in built.state[parameter].values() if isinstance(value, Tensor)]
    return sum(value.nbytes for value in states if value.numel() > 1) / parameter.nbytes
