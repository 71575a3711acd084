# TS-SAM on SAM ViT-L: shadows, with the FFT branch and balanced BCE. No ViT-L is published: the settings are those of
# ViT-B and ViT-H.
# 4 GPUs, 2 images each, gradients synchronised.
# Train: ISTD, 1,330 images. Test: ISTD.
# Validation: a twentieth of the training images. Published result: not available. Memory: not measured.
_base_ = [
    '../_base_/schedules/ts-sam.py',
    '../_base_/datasets/istd_tssam-scores.py',
    '../_base_/models/ts-sam_sam-vit-l.py',
]

max_epochs = 100
model = dict(
    backbone=dict(img_size=_base_.img_size), adapter=dict(use_fft=True), loss=dict(type='balanced_bce', sync=True))
default_hooks = dict(checkpoint=dict(save_best='BER', rule='less'))
