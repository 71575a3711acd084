# TS-SAM on SAM ViT-L: camouflaged objects. No ViT-L is published: the settings are those of ViT-B and ViT-H.
# 4 GPUs, 2 images each, gradients synchronised.
# Train: CAMO + COD10K, 4,040 images. Test: CAMO, CHAMELEON, COD10K, NC4K.
# Validation: a twentieth of the training images. Published result: not available. Memory: not measured.
_base_ = [
    '../_base_/schedules/ts-sam.py',
    '../_base_/datasets/cod_tssam-scores.py',
    '../_base_/models/ts-sam_sam-vit-l.py',
]

model = dict(backbone=dict(img_size=_base_.img_size), loss='bce_iou')
default_hooks = dict(checkpoint=dict(save_best='S', rule='greater'))
