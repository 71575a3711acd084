# TS-SAM on SAM ViT-H with every parameter trained, encoder included: camouflaged objects. Ours: the paper trains only
# the side network.
# 8 GPUs, 1 image each; parameters, gradients and optimiser states are sharded over them (FSDP), see docs/scaling.md.
# Train: CAMO + COD10K, 4,040 images. Test: CAMO, CHAMELEON, COD10K, NC4K.
# Validation: a twentieth of the training images. Published result: none. Memory: docs/scaling.md, not measured.
# Loss and weight decay are the paper's. Learning rate, warm-up and epochs are ours: 8e-4 suits only new layers.
_base_ = [
    '../_base_/schedules/ts-sam.py',
    '../_base_/datasets/cod_tssam-scores.py',
    '../_base_/models/ts-sam_sam-vit-h.py',
]

max_epochs = 20
lr = 2e-5
base_batch_size = 8
model = dict(backbone=dict(img_size=_base_.img_size, frozen=False, with_cp=True), loss='bce_iou')
train_dataloader = dict(batch_size=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-7, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(save_best='S', rule='greater'))

# Each transformer block is a unit: its parameters are gathered in bfloat16 for its computation, then freed. Gradients
# are summed in float32.
# Over several nodes sharding_strategy='HYBRID_SHARD' keeps the gathering inside a node (docs/scaling.md).
strategy = dict(
    type='FSDPStrategy',
    units=['backbone.blocks'],
    model_wrapper=dict(
        sharding_strategy='FULL_SHARD',
        mixed_precision=dict(param_dtype='bfloat16', reduce_dtype='float32', buffer_dtype='float32')))
