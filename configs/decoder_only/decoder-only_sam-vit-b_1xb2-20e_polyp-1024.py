# SAM's decoder alone on SAM ViT-B: polyps.
# 1 GPU, 2 images. The settings are ours, with SAM-Adapter's schedule, see _base_/schedules/sam-adapter.py.
# Train: 900 images of Kvasir + 550 of CVC-ClinicDB (PraNet's). Test: CVC-300, CVC-ClinicDB, CVC-ColonDB, ETIS, Kvasir.
# Validation: a twentieth of the training images. Published result: none. Memory: not measured.
_base_ = [
    '../_base_/schedules/sam-adapter.py',
    '../_base_/datasets/polyp_tssam-scores.py',
    '../_base_/models/segmentor_sam-vit-b.py',
]

model = dict(backbone=dict(img_size=_base_.img_size), loss='bce_iou')
default_hooks = dict(checkpoint=dict(save_best='mDice', rule='greater'))
