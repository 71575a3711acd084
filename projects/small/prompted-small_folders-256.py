# A small SAM with prompts from random weights, at 256 pixels, in minutes on a CPU; SAM's decoder at full size. All
# parameters are trained.
#   python tools/train.py projects/small/prompted-small_folders-256.py --cfg-options data_root=DATA
# Train 70 %, validate 15 %, test 15 % of data_root/images and data_root/masks, by name; tests give 20 clicks. Results:
# README.md.
_base_ = ['samplug::_base_/default_runtime.py', 'samplug::_base_/datasets/folders.py']

keep_ratio = True
img_size = 256
batch_size = 4
num_workers = 1
max_iters = 800
val_interval = 200
lr = 5e-4
warmup = max(2, max_iters // 12)  # with one step, LinearLR would keep its first learning rate
test_clicks = 20

model = dict(
    type='PromptableSAM',
    backbone=dict(
        type='SAMViT',
        arch=dict(embed_dims=192, depth=6, num_heads=6, global_attn_indexes=(2, 5), window_size=8, patch_size=16),
        img_size=img_size,
        frozen=False),
    decode_head=dict(type='SAMMaskDecoder', prompts=True),
    train_prompts=dict(type='PromptSimulator', num_correction_points=3),
    test_prompts=dict(
        type='PromptSimulator',
        box_prob=0.0,
        click='center',
        correction_from_truth_prob=0.0,
        num_correction_points=test_clicks - 1))
train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=warmup, end=max(max_iters, warmup + 1)),
]
test_evaluator = [dict(type='ClickMetric')]
val_evaluator = test_evaluator
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=val_interval, max_keep_ckpts=1, save_best='IoU@1'))
log_processor = dict(by_epoch=False)
