# BKAI-IGH NeoPolyp (Lan et al., ISVC 2021): 1,000 images of polyps with masks; a tenth, selected by name, is the test
# set here (the official test set of 200 images has no public masks).
# Layout: train, train_gt; both jpeg. Masks are coloured: red neoplastic, green non-neoplastic; both are foreground.
# For a single class: --cfg-options mask_values=red (or green).
# Source: https://www.kaggle.com/c/bkai-igh-neopolyp. Licence: the competition's rules.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/bkai-igh-neopolyp'
mask_values = 'red/green'
val_fraction = 0.1
train_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='BKAI-train',
        data_root=data_root,
        image_dir='train',
        mask_dir='train_gt',
        part='train',
        val_fraction=val_fraction,
        published=dict(images=1000),
        pipeline=_base_.train_pipeline,
        **_base_.files))
test_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='BKAI',
        data_root=data_root,
        image_dir='train',
        mask_dir='train_gt',
        part='val',
        val_fraction=val_fraction,
        published=dict(images=1000),
        pipeline=_base_.test_pipeline,
        **_base_.files))
test_evaluator = [dict(type='OverlapMetric'), dict(type='SaliencyMetric')]
