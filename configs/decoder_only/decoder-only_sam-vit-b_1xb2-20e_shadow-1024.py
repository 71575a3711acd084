# SAM's decoder alone on SAM ViT-B: shadows, with balanced BCE.
# 1 GPU, 2 images. The settings are ours, with SAM-Adapter's schedule, see _base_/schedules/sam-adapter.py.
# Train: ISTD, 1,330 images. Test: ISTD.
# Validation: a twentieth of the training images. Published result: none. Memory: not measured.
_base_ = [
    '../_base_/schedules/sam-adapter.py',
    '../_base_/datasets/istd_tssam-scores.py',
    '../_base_/models/segmentor_sam-vit-b.py',
]

model = dict(backbone=dict(img_size=_base_.img_size), loss=dict(type='balanced_bce'))
default_hooks = dict(checkpoint=dict(save_best='BER', rule='less'))
