# A promptable model of 6.5 million parameters for training from random weights on a CPU.
_base_ = ['samplug::_base_/default_runtime.py']
custom_imports = dict(imports=['samplug', 'projects.texture_small.parts'])

img_size = 128
clicks = 0
# Masks of everything, in validation and tests. Chosen on crops of BSDS500 (README.md).
mask_generator = dict(
    preset='texturesam', points_per_side=12, pred_iou_thresh=0.5, stability_score_thresh=0.5, box_nms_thresh=0.7)
model = dict(
    type='RegionSAM',
    clicks=clicks,
    geometry='squash',
    mask_generator=mask_generator,
    backbone=dict(type='TextureUNet', img_size=img_size, frozen=False),
    decode_head=dict(type='SAM2MaskDecoder', prompts=True, scratch=True))
