# SAM's frozen ViT-B with SAM's own decoder, both from SAM's file: 89.7 M parameters frozen, 3.5 M (decoder) trained.
# Configs based on this file may add an adapter. They set the encoder's size to that of their data:
# model = dict(backbone=dict(img_size=_base_.img_size)).
# sam_checkpoint may be a file: --cfg-options sam_checkpoint=sam_vit_b_01ec64.pth
arch = 'vit_b'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth'
model = dict(
    type='SAMSegmentor',
    backbone=dict(type='SAMViT', arch=arch, init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint)),
    decode_head=dict(type='SAMMaskDecoder', init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint)))
