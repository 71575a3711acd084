# SBU (Vicente et al., ECCV 2016): shadows, 4,089 images to train (recovered labels) and 638 to test.
# Layout: <part>/{ShadowImages,ShadowMasks}; images jpg, masks png, some with grey edges (foreground above 128).
# Source: https://www3.cs.stonybrook.edu/~cvl/projects/shadow_noisy_label/. Licence: none stated.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/SBU-shadow'
train_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='SBU-train',
        data_root=data_root,
        image_dir='SBUTrain4KRecoveredSmall/ShadowImages',
        mask_dir='SBUTrain4KRecoveredSmall/ShadowMasks',
        published=dict(images=4089),
        pipeline=_base_.train_pipeline,
        **_base_.files))
test_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='SBU',
        data_root=data_root,
        image_dir='SBU-Test/ShadowImages',
        mask_dir='SBU-Test/ShadowMasks',
        published=dict(split='test', images=638),
        pipeline=_base_.test_pipeline,
        **_base_.files))
test_evaluator = [dict(type='BERMetric')]
