# TS-SAM as a true side network on SAM ViT-B: camouflaged objects. Ours: the released code feeds back into the frozen
# encoder. Here the encoder is only read: no gradients pass through it, no activations are kept, and each position
# embeds its own token.
# 4 GPUs, 2 images each, gradients synchronised.
# Train: CAMO + COD10K, 4,040 images. Test: CAMO, CHAMELEON, COD10K, NC4K.
# Validation: a twentieth of the training images. Published result: none. Memory: not measured.
_base_ = [
    '../_base_/schedules/ts-sam.py',
    '../_base_/datasets/cod_tssam-scores.py',
    '../_base_/models/ts-sam_sam-vit-b.py',
]

model = dict(
    backbone=dict(img_size=_base_.img_size),
    adapter=dict(feedback=False, spatial_embedding=True),
    loss='bce_iou')
default_hooks = dict(checkpoint=dict(save_best='S', rule='greater'))
