# DINOv2 ViT-S/14 on your own images, a folder for each class: data_root/CLASS/*.jpg, split by name.
# --cfg-options data_root=MY; with folders of their own for training and test: image_dir=train test_dir=val
# Other sizes: arch=vitb14. Settings of the preset fair. Published result: none. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/fair_folders.py', '../_base_/encoders/dinov2.py']

poolings = ['mean', 'cls', 'cls+mean']
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
