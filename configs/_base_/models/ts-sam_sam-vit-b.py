# TS-SAM on SAM's ViT-B: 89.7 M parameters frozen, 11.9 M trained (12.1 M with use_fft).
# sam_checkpoint may be a file: --cfg-options sam_checkpoint=sam_vit_b_01ec64.pth
# Configs based on this file set the size of the encoder: model = dict(backbone=dict(img_size=_base_.img_size)).
arch = 'vit_b'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth'
model = dict(
    type='TSSAM',
    backbone=dict(type='SAMViT', arch=arch, init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint)),
    adapter=dict(type='TSSAMSideNetwork'),
    decode_head=dict(type='FeatureFusionDecoder'))
