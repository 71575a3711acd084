# SAM with ViT-B as published, with prompts: 93.7 M parameters, 4.1 M of them in the mask decoder.
# sam_checkpoint may be a file: --cfg-options sam_checkpoint=sam_vit_b_01ec64.pth
# Configs based on this file set the size of the encoder: model = dict(backbone=dict(img_size=_base_.img_size)).
# Tests give each object test_clicks clicks: the first at its centre, each other one at the centre of the largest error.
arch = 'vit_b'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth'
test_clicks = 20
model = dict(
    type='PromptableSAM',
    backbone=dict(type='SAMViT', arch=arch, init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint)),
    decode_head=dict(
        type='SAMMaskDecoder', prompts=True, init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint)),
    train_prompts=dict(type='PromptSimulator'),
    test_prompts=dict(
        type='PromptSimulator',
        box_prob=0.0,
        click='center',
        correction_from_truth_prob=0.0,
        num_correction_points=test_clicks - 1))
