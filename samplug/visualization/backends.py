"""MMEngine's visualisation backends with errors that name the missing package."""

from typing import Any

from mmengine.visualization import vis_backend

from samplug.registry import VISBACKENDS
from samplug.utils.errors import ConfigError


class _NeedsPackage:
    """Mixin that turns an ``ImportError`` in the set-up of a backend into a :class:`ConfigError`.

    A Runner sets up its backends when it is built, so the error comes before the run starts.
    """

    package: str

    def _init_env(self) -> Any:
        try:
            return super()._init_env()  # type: ignore[misc]
        except ImportError as error:
            name = type(self).__name__
            # MMEngine's message only names a package; the first error tells why the import failed.
            raise ConfigError(
                f"logging: {name} cannot import its package ({error.__context__ or error}): pip install "
                f"{self.package}, or leave {name} out of visualizer.vis_backends"
            ) from error


@VISBACKENDS.register_module()
class TensorboardVisBackend(_NeedsPackage, vis_backend.TensorboardVisBackend):
    """MMEngine's backend with an error that names the package to install."""

    package = "tensorboard"


@VISBACKENDS.register_module()
class WandbVisBackend(_NeedsPackage, vis_backend.WandbVisBackend):
    """MMEngine's backend with an error that names the package to install. Tested with wandb 0.31.0, offline."""

    package = "wandb"


@VISBACKENDS.register_module()
class MLflowVisBackend(_NeedsPackage, vis_backend.MLflowVisBackend):
    """MMEngine's backend with an error that names the package to install. Tested with mlflow-skinny 3.17.2 and SQLite.

    Name a ``tracking_uri``: MMEngine's default, a folder of files, is refused by MLflow 3.17 unless
    ``MLFLOW_ALLOW_FILE_STORE=true``.
    """

    package = "mlflow"
