# COD10K-v3 (Fan et al., CVPR 2020): the images with camouflaged objects, 3,040 of 6,000 to train and 2,026 of
# 4,000 to test.
# Layout: {Train,Test}/{Image,GT_Object}; images jpg, masks png 0/255; COD10K-CAM-* are the camouflaged ones.
# Source: https://github.com/DengPingFan/SINet. Licence: see the source; non-commercial research.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/COD10K-v3'
train_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='COD10K-train',
        data_root=data_root,
        image_dir='Train/Image',
        mask_dir='Train/GT_Object',
        include='COD10K-CAM-*',
        published=dict(images=3040),
        pipeline=_base_.train_pipeline,
        **_base_.files))
test_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='COD10K',
        data_root=data_root,
        image_dir='Test/Image',
        mask_dir='Test/GT_Object',
        include='COD10K-CAM-*',
        published=dict(split='test', images=2026),
        pipeline=_base_.test_pipeline,
        **_base_.files))
test_evaluator = [dict(type='SaliencyMetric')]
