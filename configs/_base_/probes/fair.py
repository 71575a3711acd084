# Comparison of encoders under equal conditions: the trunk's features (SAM: before the neck), normalised by a batch norm
# without affine parameters over the images of all GPUs, a grid of learning rates, and heads chosen on a part of the
# training set.
# Input rules of all encoders: shorter side to img_size with the encoder's interpolation, centre of img_size, the
# encoder's mean and standard deviation; no augmentation.
# Derived configs set model.backbone, img_size, interpolation and the datasets with the pipelines below. Every
# encoder has 'mean'; those with class tokens may add 'cls' and 'cls+mean'.
_base_ = '../default_runtime.py'

num_classes = 1000
img_size = 224
interpolation = 'bicubic'
batch_size = 256
num_workers = 8
# Features that no random augmentation changes are computed once, into this folder; None: in every epoch.
cache_dir = 'work_dirs/features'
max_epochs = 30
select = 'held_out'
poolings = ['mean']
# DINOv2's rates. They cover four orders of magnitude, so they are not adapted to the batch size.
learning_rates = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1]

model = dict(
    type='LinearProbe',
    num_classes=num_classes,
    readout=dict(source='trunk', poolings=poolings, dtype='auto'),
    head=dict(lr_mults=learning_rates, init_std=0.01),
    norm='batch')
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='ResizeShortSide', size=img_size, interpolation=interpolation),
    dict(type='CenterCrop', crop_size=img_size),
    dict(type='PackClassInputs'),
]
train_pipeline = test_pipeline
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = [dict(type='HeadAccuracy')]
test_evaluator = [dict(type='TopKAccuracy')]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# lr=1: the heads' factors are the learning rates.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0, momentum=0.9, weight_decay=0))
auto_scale_lr = dict(enable=False, base_batch_size=batch_size)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=0, by_epoch=True, convert_to_iter_based=True)
]
default_hooks = dict(checkpoint=dict(save_best='top1', max_keep_ckpts=1))
custom_hooks = [
    dict(type='HeadSelectionHook', select=select),
    dict(type='OmitFrozenHook'),
    dict(type='FeatureCacheHook', cache_dir=cache_dir),
]
