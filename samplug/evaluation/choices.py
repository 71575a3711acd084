"""Find the validation metrics that decide on a run's best checkpoint, early stopping or learning rate."""

from collections.abc import Iterator, Mapping
from typing import Any

from samplug.datasets.configs import step_name

FEW_IMAGES = 10


def choices(cfg: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the decisions that a config leaves to validation, with their metrics: ``('best checkpoint', 'mDice')``.

    Decisions are ``save_best`` of a checkpoint hook (``'auto'`` is yielded as it is), early stopping, and learning rate
    schedules that react to a plateau. The config is only read; nothing is built.
    """
    hooks = cfg.get("default_hooks") or {}
    for hook in [*(hooks.values() if isinstance(hooks, Mapping) else ()), *(cfg.get("custom_hooks") or ())]:
        if not isinstance(hook, Mapping) or "type" not in hook:
            continue
        best = hook.get("save_best")
        yield from (("best checkpoint", metric) for metric in ([best] if isinstance(best, str) else best or ()))
        if step_name(hook) == "EarlyStoppingHook" and "monitor" in hook:
            yield "end of training", hook["monitor"]
    for schedule in _schedules(cfg.get("param_scheduler")):
        if step_name(schedule).startswith("ReduceOnPlateau"):
            yield "learning rate", schedule.get("monitor", "loss")


def few_images(cfg: Mapping[str, Any], number: int) -> str | None:
    """Return a warning if a decision depends on fewer than :data:`FEW_IMAGES` validation images; else None."""
    chosen = dict.fromkeys(f"{what} (by {metric})" for what, metric in choices(cfg))
    if number >= FEW_IMAGES or not chosen:
        return None
    more = "raise val_fraction" if "val_fraction" in cfg else "give validation more images"
    return (
        f"data: only {number} validation images choose the {' and the '.join(chosen)}, too few for a reliable choice: "
        f"{more}, or use the last checkpoint"
    )


def _schedules(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the schedules of a config, which may be one, a list, or a dict of these for several optimisers."""
    if isinstance(config, list | tuple):
        for part in config:
            yield from _schedules(part)
    elif isinstance(config, Mapping):
        if "type" in config:
            yield config
        else:
            yield from _schedules(list(config.values()))
