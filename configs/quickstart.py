# Quickstart: a small TS-SAM learns generated camouflage in minutes on a CPU (`make quickstart`).
# Train: 2,500 generated scenes, seed 0. Test: 100 scenes, seed 1000. Expected: S >= .85 (untrained about .38).
_base_ = ['./_base_/default_runtime.py', './_base_/camouflage_generated.py']

max_iters = 1300
lr = 2e-3
warmup = max(1, max_iters // 12)

# Every part of the published model, at a size for minutes, trained whole.
model = dict(
    type='TSSAM',
    backbone=dict(
        type='SAMViT',
        arch=dict(
            embed_dims=96, depth=4, num_heads=3, global_attn_indexes=(1, 3), window_size=4, patch_size=8),
        img_size=_base_.img_size,
        frozen=False),
    adapter=dict(
        type='TSSAMSideNetwork',
        side_channels=32,
        csa_blocks=[0, 1, 2, 3],
        mrm_blocks=[3],
        use_fft=True,
        # Without pretrained weights there is no reason to keep the released code's scrambled first embedding.
        spatial_embedding=True),
    decode_head=dict(type='FeatureFusionDecoder'),
    loss='bce_iou')

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
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=warmup, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=max_iters, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
