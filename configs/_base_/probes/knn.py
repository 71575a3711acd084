# Classification by nearest neighbours, as DINOv2 evaluates it; nothing is trained.
# Configs based on this file set model.backbone and the test set, a ConcatDataset of the bank (bank=True) and the images
# that are scored, both with test_pipeline.
_base_ = '../default_runtime.py'

img_size = 224
batch_size = 256
num_workers = 8
interpolation = 'bicubic'
poolings = ['cls']
model = dict(type='LinearProbe', num_classes=0, readout=dict(source='trunk', poolings=poolings, dtype='auto'))
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
    sampler=dict(type='DefaultSampler', shuffle=False))
test_cfg = dict(type='TestLoop')
test_evaluator = [dict(type='KNNMetric')]
