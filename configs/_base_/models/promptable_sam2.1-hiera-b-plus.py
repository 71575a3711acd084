# SAM 2.1 (image model) with Hiera-B+ as published, with prompts: 73.3 M parameters, 4.2 M of them in the mask decoder.
# Weights that only video needs are not loaded.
# sam_checkpoint may be a file: --cfg-options sam_checkpoint=sam2.1_hiera_base_plus.pt
# Configs based on this file set the size of the encoder: model = dict(backbone=dict(img_size=_base_.img_size)).
# Tests give each object test_clicks clicks: the first at its centre, each other one at the centre of the largest error.
arch = 'hiera_b+'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_base_plus.pt'
test_clicks = 20
model = dict(
    type='PromptableSAM',
    backbone=dict(type='SAM2Hiera', arch=arch, init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint)),
    decode_head=dict(
        type='SAM2MaskDecoder', prompts=True, init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint)),
    train_prompts=dict(type='PromptSimulator'),
    test_prompts=dict(
        type='PromptSimulator',
        box_prob=0.0,
        click='center',
        correction_from_truth_prob=0.0,
        num_correction_points=test_clicks - 1),
    geometry='squash')
