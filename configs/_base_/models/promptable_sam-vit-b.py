# SAM with ViT-B as published, with prompts: 93.7 M parameters, of them 4.1 M in the mask decoder.
# sam_checkpoint may be a file: --cfg-options sam_checkpoint=sam_vit_b_01ec64.pth
# A config that uses this gives the encoder the size of its data: model = dict(backbone=dict(img_size=_base_.img_size)).
arch = 'vit_b'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth'
model = dict(
    type='PromptableSAM',
    backbone=dict(type='SAMViT', arch=arch),
    decode_head=dict(type='SAMMaskDecoder', prompts=True),
    train_prompts=dict(type='PromptSimulator'),
    init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint))
