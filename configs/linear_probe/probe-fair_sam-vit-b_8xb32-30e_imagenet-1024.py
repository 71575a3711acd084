# SAM ViT-B in the fair comparison: mean of the trunk's map, before the neck, batch norm, 13 learning rates.
# Published result: none. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/fair_imagenet.py', '../_base_/encoders/sam-vit-b.py']

batch_size = 32
img_size = 1024
interpolation = 'bilinear'
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
