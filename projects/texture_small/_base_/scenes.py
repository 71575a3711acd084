# Training on generated scenes of textures and on crops of BSDS500; RWTD is not trained on.
#   textures: DTD's images, https://www.robots.ox.ac.uk/~vgg/data/dtd/; None: generated textures alone.
#   bsds_root: BSDS500's folder with images and groundTruth.
_base_ = './model.py'

textures = 'data/dtd/images'
generated_textures = 0.4  # share of generated textures beside photographs
bsds_root = 'data/BSDS500/data'
bsds_share = 0.3  # share of crops of BSDS500 among the training images
img_size = 128
batch_size = 12
num_workers = 1
max_iters = 1800
val_interval = 600
lr = 1e-3
warmup = max(2, max_iters // 10)  # with one step, LinearLR would keep its first learning rate

pipeline = [
    dict(type='LoadRegionMap'),
    dict(type='mmseg.RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [pipeline[0], pipeline[-1]]
scenes = 1000000  # number of different training scenes
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='TextureSceneDataset',
                length=round(scenes * (1 - bsds_share)),
                size=img_size,
                textures=textures,
                generated=generated_textures,
                regions=(2, 3),
                pipeline=pipeline),
            dict(
                type='BSDSCropDataset',
                data_root=bsds_root,
                splits=('train', ),
                length=round(scenes * bsds_share),
                size=img_size,
                pipeline=pipeline),
        ]))
val_dataloader = dict(
    batch_size=8,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BSDSCropDataset',
        data_root=bsds_root,
        splits=('val', ),
        length=64,
        size=img_size,
        pipeline=test_pipeline))
val_evaluator = [dict(type='TextureMetric')]
# Scenes of another seed, from the same textures. masks_rwtd-192.py is the test on photographs.
test_dataloader = dict(
    batch_size=8,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='TextureSceneDataset',
        length=64,
        size=img_size,
        seed=1,
        textures=textures,
        generated=generated_textures,
        regions=(2, 2),
        pipeline=test_pipeline))
test_evaluator = [dict(type='TextureMetric')]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=0.02), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=warmup, end=max(max_iters, warmup + 1)),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=val_interval, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
