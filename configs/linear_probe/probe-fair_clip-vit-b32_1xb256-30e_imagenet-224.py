# CLIP ViT-B/32 in the fair comparison: class token and mean of the last block, batch norm, 13 learning rates.
# Published result: none. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/fair_imagenet.py', '../_base_/encoders/clip-vit-b32.py']

poolings = ['mean', 'cls', 'cls+mean']
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
