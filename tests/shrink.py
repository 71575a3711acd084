"""Make any config small enough to run on a CPU in a test."""

from pathlib import Path

from mmengine.config import Config, ConfigDict

from tests.builders import TINY_ARCH, TINY_CLIP, TINY_DINOV2, TINY_HIERA, save_encoder

SIZE = 32
ADAPTERS: dict[str, dict] = {
    "TSSAMSideNetwork": dict(side_channels=8, csa_blocks=[0, 1, 2], mrm_blocks=[2]),
    "SAMAdapter": dict(reduction=8),
    "LoRAAdapter": dict(r=2),
}


def shrink(cfg: Config, work_dir: Path, data_root: Path) -> Config:
    """Two iterations of a tiny model on tiny images, or a test alone; everything else as the config has it."""
    cfg.work_dir = str(work_dir)
    cfg.overwrite_work_dir = True  # tests train several times in one folder
    cfg.load_from = None
    size = 64 if cfg.model.backbone.type == "TextureUNet" else SIZE  # projects/texture_small
    _shrink_encoder(cfg.model.backbone, work_dir)
    if "size" in cfg.model.get("data_preprocessor", {}):
        cfg.model.data_preprocessor.size = (size, size)
    if "crop_size" in cfg.model.get("test_cfg", {}):
        cfg.model.test_cfg.update(crop_size=(size, size), stride=(size // 2, size // 2))
    if adapter := cfg.model.get("adapter"):
        adapter.update(ADAPTERS[adapter.type])
    if "num_correction_points" in cfg.model.get("test_prompts", {}):
        cfg.model.test_prompts.num_correction_points = 1
    if generator := cfg.model.get("mask_generator"):
        generator.points_per_side = 2
    if cfg.model.type == "LinearProbe":
        _shrink_probe(cfg)
    cfg.model.get("decode_head", {}).pop("init_cfg", None)
    cfg.model.pop("init_cfg", None)
    for loader in (cfg.get("train_dataloader"), cfg.test_dataloader, cfg.get("val_dataloader")):
        if not loader:
            continue
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        if "datasets" in loader.dataset:
            loader.dataset.datasets = loader.dataset.datasets[:2]
        for dataset in loader.dataset.get("datasets") or [loader.dataset]:
            if "length" in dataset:
                dataset.update(length=4, size=48)
            if "data_prefix" in dataset:  # mmseg's
                dataset.update(data_root=str(data_root), data_prefix=dict(img_path="images", seg_map_path="labels"))
            elif dataset.get("type") == "TextureSceneDataset":
                dataset.update(textures=None, bank=0, size=size)
            elif dataset.get("type") == "BSDSCropDataset":
                dataset.update(data_root=str(data_root / "bsds"), size=size)
            elif dataset.get("type") == "SA1BDataset":
                dataset.update(data_root=str(data_root / "sa1b"))
            elif dataset.get("type") == "TextureSegDataset":
                dataset.update(data_root=str(data_root), image_dir="images", mask_dir="labels", ann_file="", indices=2)
            elif dataset.get("type") == "ImageFolderDataset":
                own = {} if "image_dir" in dataset and dataset.image_dir else dict(image_dir="train")
                dataset.update(data_root=str(data_root / "classes"), **own)
            elif "data_root" in dataset:
                dataset.update(data_root=str(data_root), image_dir="images", mask_dir="masks", indices=2)
            if "part" in dataset:
                dataset.val_fraction = 0.5
                if dataset.get("test_fraction"):
                    dataset.update(val_fraction=0.3, test_fraction=0.3, indices=None)
            for transform in dataset.pipeline:
                for key in ("scale", "crop_size"):
                    if key in transform:
                        transform[key] = (size, size)
                if transform.type in ("RandomResizedCrop", "ResizeShortSide"):
                    transform.size = size
    cfg.default_hooks.logger.interval = 1
    for hook in cfg.get("custom_hooks", []):
        if hook.type == "FeatureCacheHook":
            hook.cache_dir = str(work_dir / "features")
    if "train_cfg" not in cfg:
        return cfg
    cfg.train_cfg.update({"max_iters" if "max_iters" in cfg.train_cfg else "max_epochs": 2})
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
    cfg.param_scheduler = None
    return cfg


def _shrink_probe(cfg: Config) -> None:
    if cfg.model.num_classes is not None:
        cfg.model.num_classes = min(2, cfg.model.num_classes)
    if cfg.get("auto_scale_lr", {}).get("enable"):
        cfg.auto_scale_lr.base_batch_size = 2  # else rates are so small that names of heads are equal


def _shrink_encoder(backbone: ConfigDict, work_dir: Path) -> None:
    if backbone.type == "CachedEncoder":
        _shrink_encoder(backbone.encoder, work_dir)
        weights = save_encoder(work_dir.parent / "encoder.pth", backbone.encoder)
        backbone.encoder.init_cfg = dict(type="Pretrained", checkpoint=weights)
        backbone.cache_dir = str(work_dir / "embeddings")
        return
    if backbone.type == "TextureUNet":  # projects/texture_small
        backbone.update(img_size=64, widths=(4, 8, 12, 16))
        return
    four_blocks = {**TINY_DINOV2, "depth": 4}  # for poolings of the last four
    other = {"SAM2Hiera": TINY_HIERA, "DINOv2ViT": four_blocks, "CLIPViT": TINY_CLIP}
    arch = other.get(backbone.type, {**TINY_ARCH, "global_attn_indexes": [1]})
    backbone.update(arch=arch, img_size=SIZE, init_cfg=None)
