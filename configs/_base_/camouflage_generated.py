# Generated camouflage scenes: no files needed. Train: seed 0. Test: seed 1000, scenes that training never sees.
data_size = 96
img_size = 64
batch_size = 4
# No loading workers: both cores serve the model; scenes are generated once and cached.
num_workers = 0
train_length = 2500
test_length = 100
train_seed = 0
test_seed = 1000

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadBinaryMask'),
    dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=False),
    dict(type='mmseg.RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
# Ground truth is loaded after resizing, so that predictions are scored at the original size.
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=False),
    dict(type='LoadBinaryMask'),
    dict(type='PackSegInputs'),
]
# Test-time augmentation of `tools/test.py --tta`: the image and its mirror images.
tta_flips = ['horizontal']
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=False),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='mmseg.RandomFlip', prob=0.0)] +
            [dict(type='mmseg.RandomFlip', prob=1.0, direction=flip) for flip in tta_flips],
            [dict(type='LoadBinaryMask')],
            [dict(type='PackSegInputs')],
        ]),
]
train_dataset = dict(
    type='CamouflageSceneDataset',
    length=train_length,
    size=data_size,
    seed=train_seed,
    cache=True,
    pipeline=train_pipeline)
test_dataset = dict(
    type='CamouflageSceneDataset', length=test_length, size=data_size, seed=test_seed, pipeline=test_pipeline)
