# CLIP ViT-B/32, as the table of "There is no SAMantics" has it: the projected embedding, not normalised, with
# ImageNet's statistics.
# The published run chose its checkpoint by the test images: --cfg-options select=val
# Published result (ImageNet-1k val): top-1 73.92, top-5 92.89. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/samantics_imagenet.py', '../_base_/encoders/clip-vit-b32.py']

batch_size = 32
source = 'projection'
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
