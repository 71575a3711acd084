# Masks of everything on RWTD, scored as TextureSAM's scripts and strictly:
#   python tools/test.py projects/texture_small/masks_rwtd-192.py CHECKPOINT --cfg-options rwtd_root=RWTD
_base_ = ['./_base_/model.py', 'samplug::_base_/texture_sets.py']

img_size = 192
num_workers = 1
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=False, backend='pillow'),
    dict(type='LoadRegionMap'),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(
    batch_size=1,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline, **_base_.texture_sets['rwtd']))
test_cfg = dict(type='TestLoop')
test_evaluator = _base_.texture_evaluator
