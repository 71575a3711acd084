"""MMEngine's visualisation backends, with errors that name a missing package, and tolerant of a full disk."""

from logging import WARNING
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.visualization import vis_backend

from samplug.registry import VISBACKENDS
from samplug.utils.errors import ConfigError
from samplug.utils.files import WriteError, write_text


class _OutlivesFullDisk:
    """Mixin that warns once if records cannot be written, and lets the run go on."""

    _save_dir: str
    _warned = False

    def _attempt(self, method: str, *args: Any, **kwargs: Any) -> None:
        try:
            getattr(super(), method)(*args, **kwargs)
        except OSError as error:
            if not self._warned:
                self._warned = True
                explained = WriteError.of(error.filename or f"a file in {self._save_dir}", error)
                print_log(f"{explained}. The run goes on without these records.", "current", WARNING)

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        self._attempt("add_scalar", *args, **kwargs)

    def add_scalars(self, *args: Any, **kwargs: Any) -> None:
        self._attempt("add_scalars", *args, **kwargs)

    def add_image(self, *args: Any, **kwargs: Any) -> None:
        self._attempt("add_image", *args, **kwargs)

    def close(self) -> None:
        self._attempt("close")


@VISBACKENDS.register_module()
class LocalVisBackend(_OutlivesFullDisk, vis_backend.LocalVisBackend):
    """MMEngine's local backend; the config is written whole or not at all."""

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Write the config.

        Raises:
            WriteError: The config cannot be written.
        """
        self.experiment  # noqa: B018  # makes the folder and completes the path
        write_text(Path(self._config_save_file), config.pretty_text)


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
class TensorboardVisBackend(_NeedsPackage, _OutlivesFullDisk, vis_backend.TensorboardVisBackend):
    """MMEngine's backend with an error that names the package to install."""

    package = "tensorboard"


@VISBACKENDS.register_module()
class WandbVisBackend(_NeedsPackage, _OutlivesFullDisk, vis_backend.WandbVisBackend):
    """MMEngine's backend with an error that names the package to install. Tested with wandb 0.31.0, offline."""

    package = "wandb"


@VISBACKENDS.register_module()
class MLflowVisBackend(_NeedsPackage, _OutlivesFullDisk, vis_backend.MLflowVisBackend):
    """MMEngine's backend with an error that names the package to install. Tested with mlflow-skinny 3.17.2 and SQLite.

    Name a ``tracking_uri``: MMEngine's default, a folder of files, is refused by MLflow 3.17 unless
    ``MLFLOW_ALLOW_FILE_STORE=true``.
    """

    package = "mlflow"
