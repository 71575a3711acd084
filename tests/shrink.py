"""Make any config small enough to run on a CPU in a test."""

from pathlib import Path

from mmengine.config import Config

from tests.builders import TINY_ARCH

SIZE = 32


def shrink(cfg: Config, work_dir: Path, data_root: Path) -> Config:
    """Two iterations of a tiny model on tiny images; everything else as the config has it."""
    cfg.work_dir = str(work_dir)
    backbone = cfg.model.backbone
    backbone.update(arch={**TINY_ARCH, "global_attn_indexes": [1]}, img_size=SIZE, init_cfg=None)
    adapter = cfg.model.get("adapter", {})
    adapter.update(side_channels=8, csa_blocks=[0, 1, 2], mrm_blocks=[2])
    for loader in (cfg.train_dataloader, cfg.test_dataloader, cfg.get("val_dataloader")):
        if not loader:
            continue
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        for dataset in loader.dataset.get("datasets", [loader.dataset]):
            if "length" in dataset:
                dataset.update(length=4, size=48)
            if "data_root" in dataset:
                dataset.data_root = str(data_root)
            if "published" in dataset:  # the published layout and number of images
                dataset.update(image_dir="images", mask_dir="masks", published=None)
            for transform in dataset.pipeline:
                if "scale" in transform:
                    transform.scale = (SIZE, SIZE)
    if cfg.train_cfg.get("max_iters"):
        cfg.train_cfg.max_iters = 2
        cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
    else:
        cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = None
    cfg.default_hooks.logger.interval = 1
    return cfg
