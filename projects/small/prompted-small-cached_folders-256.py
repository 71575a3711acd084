# Training of a prompted-small model's mask decoder on other images; the features of the frozen encoder are cached on
# disk.
#   python tools/train.py projects/small/prompted-small-cached_folders-256.py --cfg-options data_root=DATA source=CHECKPOINT
_base_ = './prompted-small_folders-256.py'

source = 'work_dirs/prompted-small_folders-256/iter_800.pth'
cache_dir = 'work_dirs/embeddings'
max_iters = 400
val_interval = 100
lr = 2e-4
model = dict(
    backbone=dict(
        _delete_=True,
        type='CachedEncoder',
        cache_dir=cache_dir,
        encoder=dict(
            type='SAMViT',
            arch=_base_.model.backbone.arch,
            img_size=_base_.img_size,
            init_cfg=dict(type='Pretrained', checkpoint=source))),
    decode_head=dict(init_cfg=dict(type='Pretrained', checkpoint=source)),
    frozen=['decode_head.prompt_encoder'])
