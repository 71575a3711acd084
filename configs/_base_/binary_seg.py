# Pipelines and loaders for binary segmentation from files: images are resized to a square and flipped at random;
# predictions are scored at the original size.
img_size = 1024
batch_size = 2
num_workers = 4
keep_ratio = False  # True: the longer side becomes img_size, the model pads the rest

# Pillow's bilinear resizing averages pixels when it shrinks, as in the published systems; OpenCV's skips pixels.
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadBinaryMask'),
    dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=keep_ratio, backend='pillow'),
    dict(type='mmseg.RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
# Ground truth is loaded after resizing, so that predictions are scored at the original size.
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=keep_ratio, backend='pillow'),
    dict(type='LoadBinaryMask'),
    dict(type='PackSegInputs'),
]
# Test-time augmentation of `tools/test.py --tta`: the image and its mirror images.
tta_flips = ['horizontal']
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmseg.Resize', scale=(img_size, img_size), keep_ratio=keep_ratio, backend='pillow'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='mmseg.RandomFlip', prob=0.0)] +
            [dict(type='mmseg.RandomFlip', prob=1.0, direction=flip) for flip in tta_flips],
            [dict(type='LoadBinaryMask')],
            [dict(type='PackSegInputs')],
        ]),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=True))
test_dataloader = dict(
    batch_size=1,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type='DefaultSampler', shuffle=False))
