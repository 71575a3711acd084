# SAM 2.1 Hiera-T in the fair comparison: mean of the trunk's last map, before the neck, batch norm, 13 learning rates.
# Published result: none. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/fair_imagenet.py', '../_base_/encoders/sam2.1-hiera-t.py']

batch_size = 32
img_size = 1024
interpolation = 'bilinear'
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
