# TS-SAM on ViT-H with every parameter trained, shared out over the GPUs (FSDP): camouflaged objects, 8 GPUs with 1 image each.
# Ours, not measured: the paper trains the side network only. Loss, optimiser and decay are the paper's; learning rate, warm-up and
# number of epochs are ours, since 8e-4 is a rate for fresh layers and not for SAM's.
# Cost by arithmetic: docs/scaling.md. Start: bash tools/dist_train.sh <this file> 8
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/cod.py']

checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth'
max_epochs = 20
lr = 2e-5
batch_size = 1

model = dict(
    type='TSSAM',
    backbone=dict(
        type='SAMViT',
        arch='vit_h',
        img_size=_base_.img_size,
        frozen=False,
        with_cp=True,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    adapter=dict(type='TSSAMSideNetwork'),
    decode_head=dict(type='FeatureFusionDecoder'),
    loss='bce_iou')

# Each transformer block is a unit: gathered in bfloat16 for its computation, then freed. Gradients are summed in float32.
# Over several nodes sharding_strategy='HYBRID_SHARD' keeps the gathering inside a node (docs/scaling.md).
strategy = dict(
    type='FSDPStrategy',
    units=['backbone.blocks'],
    model_wrapper=dict(
        sharding_strategy='FULL_SHARD',
        mixed_precision=dict(param_dtype='bfloat16', reduce_dtype='float32', buffer_dtype='float32')))

train_dataloader = dict(batch_size=batch_size)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-7, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
