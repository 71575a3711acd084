# A promptable model of 6.5 million parameters for training from random weights on a CPU.
_base_ = ['samplug::_base_/default_runtime.py']
custom_imports = dict(imports=['samplug', 'projects.texture_small.parts'])

img_size = 128
clicks = 0
model = dict(
    type='RegionSAM',
    clicks=clicks,
    geometry='squash',
    backbone=dict(type='TextureUNet', img_size=img_size, frozen=False),
    decode_head=dict(type='SAM2MaskDecoder', prompts=True, scratch=True))
