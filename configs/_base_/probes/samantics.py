# The linear probe of "There is no SAMantics": one head, Adam at 1e-3, halved when the validation loss has not improved
# for more than 5 epochs, stopped after 7 without improvement, gradients clipped at norm 1, 10 epochs of 128 images a
# step; no augmentation, ImageNet's mean and standard deviation and bilinear resizing for all encoders.
# Derived configs set model.backbone, source and poolings, and the datasets with the pipelines below:
# CLIP B/32: source='projection', poolings=['cls']. DINOv2 S: source='trunk', poolings=['cls']. Both 224 px,
# keep_ratio=True. SAM B and SAM 2.1 T: source='neck', poolings=['mean'], 1024 px, keep_ratio=False.
_base_ = '../default_runtime.py'

num_classes = 1000
img_size = 224
keep_ratio = True  # shorter side to img_size, then the centre; False: stretched to a square
batch_size = 128
num_workers = 8
# Features that no random augmentation changes are computed once, into this folder; None: in every epoch.
cache_dir = 'work_dirs/features'
max_epochs = 10
select = 'held_out'
lr = 1e-3
source = 'trunk'
poolings = ['cls']

model = dict(
    type='LinearProbe',
    num_classes=num_classes,
    readout=dict(source=source, poolings=poolings, dtype='auto'),
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]))
test_pipeline = [
    dict(type='LoadImage'),
    *([
        dict(type='ResizeShortSide', size=img_size, interpolation='bilinear'),
        dict(type='CenterCrop', crop_size=img_size),
    ] if keep_ratio else
      [dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=False, backend='pillow')]),
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
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=lr), clip_grad=dict(max_norm=1.0))
param_scheduler = [dict(type='ReduceOnPlateauLR', monitor='val_loss', rule='less', factor=0.5, patience=5)]
default_hooks = dict(checkpoint=dict(save_best='top1', max_keep_ckpts=1))
custom_hooks = [
    dict(type='EarlyStoppingHook', monitor='val_loss', rule='less', patience=7),
    dict(type='HeadSelectionHook', select=select),
    dict(type='OmitFrozenHook'),
    dict(type='FeatureCacheHook', cache_dir=cache_dir),
]
