# SAM's ViT-B, the image encoder alone: 89.7 M parameters, 768 channels before the neck, 256 behind it.
# sam_checkpoint may be a file: --cfg-options sam_checkpoint=sam_vit_b_01ec64.pth
arch = 'vit_b'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth'
encoder = dict(type='SAMViT', arch=arch, init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint))
