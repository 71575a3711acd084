# DUTS (Wang et al., CVPR 2017): salient objects, 10,553 images to train (TR) and 5,019 to test (TE).
# Layout: DUTS-{TR,TE}/DUTS-{TR,TE}-{Image,Mask}; images jpg, masks png with anti-aliased edges (foreground above 128).
# Source: http://saliencydetection.net/duts/. Licence: none stated.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/DUTS'
mask_values = '0/255'
train_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='DUTS-TR',
        data_root=data_root,
        image_dir='DUTS-TR/DUTS-TR-Image',
        mask_dir='DUTS-TR/DUTS-TR-Mask',
        published=dict(images=10553),
        pipeline=_base_.train_pipeline,
        **_base_.files))
test_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='DUTS-TE',
        data_root=data_root,
        image_dir='DUTS-TE/DUTS-TE-Image',
        mask_dir='DUTS-TE/DUTS-TE-Mask',
        published=dict(split='test', images=5019),
        pipeline=_base_.test_pipeline,
        **_base_.files))
test_evaluator = [dict(type='SaliencyMetric')]
