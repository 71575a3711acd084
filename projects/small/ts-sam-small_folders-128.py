# A small TS-SAM for your own images, in minutes on a CPU. It starts from the quickstart's model, which was trained only
# on generated scenes.
#   make quickstart
#   python tools/train.py projects/small/ts-sam-small_folders-128.py --cfg-options data_root=DATA
# Train 70 %, validate 15 %, test 15 % of data_root/images and data_root/masks, by name. Result: docs/ts-sam.md. Memory:
# under 2 GB.
_base_ = [
    'samplug::_base_/default_runtime.py',
    'samplug::_base_/datasets/folders.py',
    'samplug::_base_/models/ts-sam_small.py',
]

load_from = 'quickstart_results/iter_1300.pth'
img_size = 128
batch_size = 4
num_workers = 2
max_iters = 400
val_interval = 100
lr = 5e-4
warmup = max(2, max_iters // 12)  # with one step, LinearLR would keep its first learning rate

model = dict(backbone=dict(img_size=img_size))
train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=warmup, end=max(max_iters, warmup + 1)),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=val_interval, max_keep_ckpts=1, save_best='mDice'))
log_processor = dict(by_epoch=False)
