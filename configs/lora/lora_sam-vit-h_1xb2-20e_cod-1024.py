# LoRA on SAM ViT-H: camouflaged objects.
# 1 GPU, 2 images. The settings are ours, with SAM-Adapter's schedule, see _base_/schedules/sam-adapter.py.
# Train: CAMO + COD10K, 4,040 images. Test: CAMO, CHAMELEON, COD10K, NC4K.
# Validation: a twentieth of the training images. Published result: none. Memory: not measured.
_base_ = [
    '../_base_/schedules/sam-adapter.py',
    '../_base_/datasets/cod_tssam-scores.py',
    '../_base_/models/segmentor_sam-vit-h.py',
]

model = dict(backbone=dict(img_size=_base_.img_size), adapter=dict(type='LoRAAdapter', r=8, alpha=16), loss='bce_iou')
default_hooks = dict(checkpoint=dict(save_best='S', rule='greater'))
