# A small SAM with prompts, in minutes on a CPU: the quickstart's encoder, SAM's decoder at full size from scratch, all trained.
#   make quickstart
#   python tools/train.py projects/small/prompted-small_folders-128.py --cfg-options data_root=DATA
# Train 70 %, validate 15 %, test 15 % of data_root/images and data_root/masks, by name; one click at the object's centre. Result: README.md.
_base_ = ['samplug::_base_/default_runtime.py', 'samplug::_base_/datasets/folders.py']

keep_ratio = True
img_size = 128
batch_size = 4
num_workers = 2
max_iters = 400
val_interval = 100
lr = 5e-4
warmup = max(1, max_iters // 12)
encoder_checkpoint = 'quickstart_results/iter_1300.pth'

model = dict(
    type='PromptableSAM',
    backbone=dict(
        type='SAMViT',
        arch=dict(embed_dims=96, depth=4, num_heads=3, global_attn_indexes=(1, 3), window_size=4, patch_size=8),
        img_size=img_size,
        init_cfg=dict(type='Pretrained', checkpoint=encoder_checkpoint)),
    train_prompts=dict(type='PromptSimulator', num_correction_points=2))
train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=warmup, end=max_iters),
]
find_unused_parameters = True
test_evaluator = [dict(type='OverlapMetric')]
val_evaluator = test_evaluator
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=val_interval, max_keep_ckpts=1, save_best='IoU'))
log_processor = dict(by_epoch=False)
