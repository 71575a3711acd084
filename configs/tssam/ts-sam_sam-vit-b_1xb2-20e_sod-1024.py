# TS-SAM on SAM ViT-B: salient objects.
# 1 GPU, 2 images, as the released code trains, see _base_/schedules/ts-sam.py.
# Train: DUTS-TR, 10,553 images (the released config: PASCAL-S). Test: DUTS-TE, ECSSD, DUT-OMRON, HKU-IS, PASCAL-S.
# Validation: a twentieth of the training images. Published result: not available. Memory: not measured.
_base_ = [
    '../_base_/schedules/ts-sam.py',
    '../_base_/datasets/sod_tssam-scores.py',
    '../_base_/models/ts-sam_sam-vit-b.py',
]

max_epochs = 20
base_batch_size = 2
model = dict(backbone=dict(img_size=_base_.img_size), loss='bce_iou')
default_hooks = dict(checkpoint=dict(save_best='S', rule='greater'))
