# DINOv2's linear evaluation (Oquab et al., 2023): 52 heads trained at once, 4 poolings x 13 learning rates, SGD with
# momentum 0.9 and no weight decay, cosine to 0 by iteration, 12,500 iterations of 1,024 images (8 GPUs x 128 there).
# Derived configs set model.backbone and the datasets with train_pipeline and test_pipeline.
# The best head is chosen on images that are not tested. As published, on the validation set that is also the test set:
# --cfg-options select=val
_base_ = '../default_runtime.py'

num_classes = 1000
img_size = 224
batch_size = 1024
num_workers = 8
# Features that no random augmentation changes are computed once, into this folder; None: in every epoch.
cache_dir = 'work_dirs/features'
max_iters = 12500
val_interval = 1250
select = 'held_out'
interpolation = 'bicubic'
poolings = ['cls', 'cls+mean', 'last4', 'last4+mean']
# At 256 images; the rates of a training are multiplied by (images of a step) / 256.
learning_rates = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1]

model = dict(
    type='LinearProbe',
    num_classes=num_classes,
    readout=dict(source='trunk', poolings=poolings, dtype='auto'),
    head=dict(lr_mults=learning_rates, init_std=0.01))
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=img_size, interpolation=interpolation),
    dict(type='mmseg.RandomFlip', prob=0.5),
    dict(type='PackClassInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='ResizeShortSide', size=round(img_size * 256 / 224), interpolation=interpolation),
    dict(type='CenterCrop', crop_size=img_size),
    dict(type='PackClassInputs'),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(
    batch_size=128,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = [dict(type='HeadAccuracy')]
test_evaluator = [dict(type='TopKAccuracy')]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# lr=1: the heads' factors are the learning rates.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0, momentum=0.9, weight_decay=0))
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=0, by_epoch=False)]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=val_interval, max_keep_ckpts=1))
custom_hooks = [
    dict(type='HeadSelectionHook', select=select),
    dict(type='OmitFrozenHook'),
    dict(type='FeatureCacheHook', cache_dir=cache_dir),
]
log_processor = dict(by_epoch=False)
