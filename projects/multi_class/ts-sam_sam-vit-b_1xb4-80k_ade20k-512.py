# TS-SAM on SAM ViT-B: ADE20K, 150 classes. Ours: the paper segments one class only.
# 1 GPU, 4 images, 80,000 iterations. Train: ADE20K training, 20,210 images. Validation and test: ADE20K validation,
# 2,000 images, as usual (the ground truth of its test set is not public). Result: not measured. Memory: not measured.
# Layout: ADEChallengeData2016/{images,annotations}/{training,validation}.
# Source: http://sceneparsing.csail.mit.edu/. Licence: BSD-3 (images: research only).
_base_ = ['samplug::_base_/default_runtime.py', 'samplug::_base_/models/ts-sam_sam-vit-b.py']

dataset_type = 'mmseg.ADE20KDataset'
data_root = 'data/ade/ADEChallengeData2016'
num_classes = 150
img_size = 512
batch_size = 4
num_workers = 4
max_iters = 80000
val_interval = 8000
lr = 8e-4

model = dict(backbone=dict(img_size=img_size), num_classes=num_classes, loss='cross_entropy')

train_pipeline = [
    dict(type='mmseg.LoadImageFromFile'),
    dict(type='mmseg.LoadAnnotations', reduce_zero_label=True),
    dict(type='mmseg.RandomResize', scale=(4 * img_size, img_size), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='mmseg.RandomCrop', crop_size=(img_size, img_size), cat_max_ratio=0.75),
    dict(type='mmseg.RandomFlip', prob=0.5),
    dict(type='mmseg.PhotoMetricDistortion'),
    dict(type='mmseg.PackSegInputs'),
]
# The longer side becomes img_size, the model pads the rest. Ground truth is loaded after resizing, so that predictions
# are scored at the original size.
test_pipeline = [
    dict(type='mmseg.LoadImageFromFile'),
    dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=True),
    dict(type='mmseg.LoadAnnotations', reduce_zero_label=True),
    dict(type='mmseg.PackSegInputs'),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])]
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-7, by_epoch=False)]
auto_scale_lr = dict(enable=False, base_batch_size=batch_size)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=val_interval, save_best='mIoU', rule='greater'))
log_processor = dict(by_epoch=False)
