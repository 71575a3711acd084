# SAM ViT-B on your own images, a folder for each class, as probe_dinov2-vits14_folders.
# Published result: none. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/fair_folders.py', '../_base_/encoders/sam-vit-b.py']

batch_size = 32
img_size = 1024
interpolation = 'bilinear'
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
