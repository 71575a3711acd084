# TS-SAM on SAM ViT-B: shadows, with the FFT branch and balanced BCE.
# 1 GPU, 2 images, as the released code trains, see _base_/schedules/ts-sam.py.
# Train: ISTD, 1,330 images. Test: ISTD.
# Validation: a twentieth of the training images. Published result: not available. Memory: not measured.
_base_ = [
    '../_base_/schedules/ts-sam.py',
    '../_base_/datasets/istd_tssam-scores.py',
    '../_base_/models/ts-sam_sam-vit-b.py',
]

max_epochs = 25
base_batch_size = 2
model = dict(
    backbone=dict(img_size=_base_.img_size), adapter=dict(use_fft=True), loss=dict(type='balanced_bce'))
default_hooks = dict(checkpoint=dict(save_best='BER', rule='less'))
