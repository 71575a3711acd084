# DINOv2 ViT-S/14, as the table of "There is no SAMantics" has it: the class token behind the final norm.
# The published run chose its checkpoint by the test images: --cfg-options select=val
# Published result (ImageNet-1k val): top-1 77.43, top-5 93.78. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/samantics_imagenet.py', '../_base_/encoders/dinov2.py']

batch_size = 32
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
