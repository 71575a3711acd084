# As prompted-decoder_sam-vit-h_1xb4-20e_folders-1024, with the encoder's maps kept on disk: 2.1 MB for an image, and
# as much for its mirror image. From the second epoch on no encoder is run, and from the second run on none is in memory.
# Published result: none. Memory: not measured.
_base_ = './prompted-decoder_sam-vit-h_1xb4-20e_folders-1024.py'

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
