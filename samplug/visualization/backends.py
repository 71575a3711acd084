"""Visualisation backends whose packages may be missing: MMEngine's, with an error that says what to install."""

from typing import Any

from mmengine.visualization import vis_backend

from samplug.registry import VISBACKENDS
from samplug.utils.errors import ConfigError


class _NeedsPackage:
    """Turns the ``ImportError`` of a backend that is set up into a :class:`ConfigError`.

    The backends are set up when a Runner is built: a run stops before it has begun.
    """

    package: str

    def _init_env(self) -> Any:
        try:
            return super()._init_env()  # type: ignore[misc]
        except ImportError as error:
            name = type(self).__name__
            # MMEngine's message names a package, the first error says why the import failed.
            raise ConfigError(
                f"logging: {name} cannot import its package ({error.__context__ or error}): pip install {self.package}, or "
                f"leave {name} out of visualizer.vis_backends"
            ) from error


@VISBACKENDS.register_module()
class TensorboardVisBackend(_NeedsPackage, vis_backend.TensorboardVisBackend):
    """MMEngine's, with an error that says what to install."""

    package = "tensorboard"


@VISBACKENDS.register_module()
class WandbVisBackend(_NeedsPackage, vis_backend.WandbVisBackend):
    """MMEngine's, with an error that says what to install. Tried with wandb 0.31.0, offline."""

    package = "wandb"


@VISBACKENDS.register_module()
class MLflowVisBackend(_NeedsPackage, vis_backend.MLflowVisBackend):
    """MMEngine's, with an error that says what to install. Tried with mlflow-skinny 3.17.2 and SQLite.

    Name a ``tracking_uri``: MMEngine's default, a folder of files, is refused by MLflow 3.17 unless ``MLFLOW_ALLOW_FILE_STORE=true``.
    """

    package = "mlflow"
