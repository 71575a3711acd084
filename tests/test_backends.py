"""W&B, MLflow and TensorBoard, with stand-ins for the packages."""

import sys
import types

import pytest
from mmengine.visualization import Visualizer

from samplug.config import load_config
from samplug.utils.errors import ConfigError
from tests.conftest import ROOT


class Recorder(types.ModuleType):
    """A module whose functions note their names and arguments in ``calls``."""

    def __init__(self, name, **members):
        super().__init__(name)
        self.calls = []
        self.__dict__.update(members)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))

    def called(self, name):
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


def visualizer(tmp_path, backend, **options):
    """The visualizer of a config that adds a backend by the two lines that the file says, and its config."""
    file = tmp_path / "mine.py"
    file.write_text(
        f"_base_ = [{str(ROOT / 'configs/quickstart.py')!r}, {str(ROOT / f'configs/_base_/logging/{backend}.py')!r}]\n"
        f"visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.{backend}_backend])\n"
    )
    cfg = load_config(file, options)
    cfg.work_dir = str(tmp_path / "work")
    (tmp_path / "work").mkdir()
    return Visualizer(vis_backends=cfg.visualizer.vis_backends, save_dir=str(tmp_path / "work" / "run")), cfg


def test_wandb(tmp_path, monkeypatch):
    """Calls that were seen to work with wandb 0.31.0 in offline mode."""
    config, run = Recorder("config"), Recorder("run")
    wandb = Recorder("wandb", config=config, run=run)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    vis, cfg = visualizer(tmp_path, "wandb", wandb_mode="offline", wandb_project="mine")
    vis.add_config(cfg)
    vis.add_scalars(dict(loss=0.5, iter=3), step=3)
    vis.add_scalars(dict(MAE=0.1), step=3)
    vis.close()
    assert wandb.called("init") == [((), dict(project="mine", mode="offline", dir=str(tmp_path / "work/run/vis_data")))]
    assert wandb.called("define_metric") == [((), dict(name="*", step_metric="iter"))]
    assert [args[0] for args, _ in wandb.called("log")] == [dict(loss=0.5, iter=3), dict(MAE=0.1)]
    assert config.called("update")[0][0][0]["max_iters"] == cfg.max_iters
    assert len(wandb.called("join")) == 1
    assert (tmp_path / "work/run/vis_data/scalars.json").is_file()
    assert list((tmp_path / "work/run/vis_data").glob("events.out.tfevents*"))


@pytest.mark.parametrize("server", [None, "http://localhost:5000"])
def test_mlflow(tmp_path, monkeypatch, server):
    """Calls that were seen to work with mlflow-skinny 3.17.2 and SQLite."""
    mlflow = Recorder("mlflow", MlflowException=RuntimeError)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    vis, cfg = visualizer(tmp_path, "mlflow", mlflow_experiment="mine")
    vis.add_config(cfg)
    vis.add_scalars(dict(loss=0.5), step=3)
    (tmp_path / "work" / "a.log").write_text("")
    vis.close()
    assert mlflow.called("set_tracking_uri") == [((server or "sqlite:///mlflow.db",), {})]
    assert mlflow.called("set_experiment") == [(("mine",), {})]
    assert mlflow.called("log_params")[0][0][0]["optim_wrapper.optimizer.lr"] == cfg.lr
    assert mlflow.called("log_metrics") == [((dict(loss=0.5), 3), {})]
    assert ((str(tmp_path / "work" / "a.log"), ""), {}) in mlflow.called("log_artifact")
    assert len(mlflow.called("end_run")) == 1


@pytest.mark.parametrize(
    ("backend", "modules", "package"),
    [
        ("wandb", ["wandb"], "wandb"),
        ("mlflow", ["mlflow"], "mlflow"),
        ("wandb", ["torch.utils.tensorboard", "tensorboard"], "tensorboard"),  # it stands before W&B
    ],
)
def test_a_package_that_is_missing(tmp_path, monkeypatch, backend, modules, package):
    monkeypatch.setitem(sys.modules, "wandb", Recorder("wandb", config=Recorder("config"), run=Recorder("run")))
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    vis, cfg = visualizer(tmp_path, backend)
    with pytest.raises(
        ConfigError, match=f"pip install {package}, or leave .*VisBackend out of visualizer.vis_backends"
    ):
        vis.add_config(cfg)
