# DINOv2's linear evaluation of its ViT-S/14: 52 heads at once, 12,500 iterations of 1,024 images (10 "epochs" of
# 1,250).
# Registers: --cfg-options arch=vits14_reg4. As published, the best head by the test images: --cfg-options select=val
# Published result (top-1 on ImageNet-1k val): 81.1; with registers 80.9. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/dinov2_imagenet.py', '../_base_/encoders/dinov2.py']

batch_size = 128
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
