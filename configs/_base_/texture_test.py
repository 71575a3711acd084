# Masks of everything by SAM 2.1 Hiera-S, scored on sets of texture segmentation; there is nothing to train.
# preset: settings of the mask generator, 'sam2' (SAM 2's own, SAM-2 in TextureSAM's tables) or 'texturesam' (SAM-2* and
# TextureSAM). Single settings: --cfg-options model.mask_generator.points_per_side=16.
_base_ = ['./default_runtime.py', './models/promptable_sam2.1-hiera-b-plus.py', './texture_sets.py']

arch = 'hiera_s'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_small.pt'
preset = 'texturesam'
img_size = 1024
num_workers = 4
check = 'sample'
on_error = 'stop'
model = dict(backbone=dict(img_size=img_size, frozen=True), mask_generator=dict(preset=preset))
# Label maps are loaded after resizing, so that masks are scored at the original size.
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=False, backend='pillow'),
    dict(type='LoadRegionMap'),
    dict(type='PackSegInputs'),
]
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=1,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ConcatDataset',
        ignore_keys=['layout'],
        datasets=[
            dict(pipeline=test_pipeline, check=check, on_error=on_error, **_base_.texture_sets[name])
            for name in _base_.test_sets
        ]))
test_evaluator = _base_.texture_evaluator
