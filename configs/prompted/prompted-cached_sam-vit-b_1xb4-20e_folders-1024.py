# As prompted-decoder_sam-vit-b_1xb4-20e_folders-1024, with the encoder's features cached on disk: 2.1 MB for an image
# and as much for its mirror image. The encoder runs in the first epoch only, and is in memory in the first run only.
# Published result: none. Memory: not measured.
_base_ = './prompted-decoder_sam-vit-b_1xb4-20e_folders-1024.py'

cache_dir = 'work_dirs/embeddings'
model = dict(
    backbone=dict(
        _delete_=True,
        type='CachedEncoder',
        cache_dir=cache_dir,
        encoder=dict(
            type='SAMViT',
            arch=_base_.arch,
            img_size=_base_.img_size,
            init_cfg=dict(type='Pretrained', checkpoint=_base_.sam_checkpoint))))
