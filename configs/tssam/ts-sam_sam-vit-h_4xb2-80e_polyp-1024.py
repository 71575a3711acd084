# TS-SAM on SAM ViT-H: polyps. The settings are those of camouflaged objects (TS-SAM publishes none for polyps).
# 4 GPUs, 2 images each, gradients synchronised.
# Train: 900 images of Kvasir + 550 of CVC-ClinicDB (PraNet's). Test: CVC-300, CVC-ClinicDB, CVC-ColonDB, ETIS, Kvasir.
# Validation: a twentieth of the training images. Published result: none. Memory: not measured.
_base_ = [
    '../_base_/schedules/ts-sam.py',
    '../_base_/datasets/polyp_tssam-scores.py',
    '../_base_/models/ts-sam_sam-vit-h.py',
]

model = dict(backbone=dict(img_size=_base_.img_size), loss='bce_iou')
default_hooks = dict(checkpoint=dict(save_best='mDice', rule='greater'))
