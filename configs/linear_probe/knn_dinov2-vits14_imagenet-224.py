# DINOv2's evaluation by nearest neighbours: class tokens of all training images are the bank; nothing is trained.
# python tools/test.py knn_dinov2-vits14_imagenet-224 none. Other sizes and registers: --cfg-options arch=vitb14_reg4
# Published results (top-1 on ImageNet-1k val): 79.0, with registers 79.1; README.md has those of the other sizes.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/encoders/dinov2.py', '../_base_/datasets/imagenet.py'
]

img_size = 224
batch_size = 256
num_workers = 8
interpolation = 'bicubic'
model = dict(
    type='LinearProbe',
    num_classes=0,
    backbone=dict(img_size=img_size, **_base_.encoder),
    readout=dict(source='trunk', poolings=['cls'], dtype='auto'))
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='ResizeShortSide', size=round(img_size * 256 / 224), interpolation=interpolation),
    dict(type='CenterCrop', crop_size=img_size),
    dict(type='PackClassInputs'),
]
test_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(bank=True, pipeline=test_pipeline, **_base_.train_images),
            dict(pipeline=test_pipeline, **_base_.test_images),
        ]))
test_cfg = dict(type='TestLoop')
test_evaluator = [dict(type='KNNMetric')]
