# Quickstart: a small TS-SAM learns generated camouflage in minutes on a CPU (`make quickstart`).
# Train: 2,500 generated scenes, seed 0. Test: 100 scenes, seed 1000. Expected: S >= .85 (untrained about .38).
_base_ = [
    './_base_/default_runtime.py',
    './_base_/camouflage_generated.py',
    './_base_/models/ts-sam_small.py',
]

max_iters = 1300
lr = 2e-3
warmup = max(2, max_iters // 12)  # with one step, LinearLR would keep its first learning rate

model = dict(backbone=dict(img_size=_base_.img_size))
train_dataloader = dict(
    batch_size=_base_.batch_size,
    num_workers=_base_.num_workers,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=_base_.train_dataset)
test_dataloader = dict(
    batch_size=8,
    num_workers=_base_.num_workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=_base_.test_dataset)
test_evaluator = [dict(type='SaliencyMetric'), dict(type='OverlapMetric')]

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=warmup, end=max(max_iters, warmup + 1)),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=max_iters, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
