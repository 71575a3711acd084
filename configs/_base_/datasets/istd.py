# ISTD (Wang et al., CVPR 2018): shadows, 1,330 images to train and 540 to test, 640x480.
# Layout: {train,test}/<split>_A images, <split>_B masks, <split>_C without shadow (not used); all png.
# Source: https://github.com/DeepInsight-PCALab/ST-CGAN. Licence: none stated; research use.
# Validation: a twentieth of the training images, selected by name; nothing is selected on test sets.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/ISTD_Dataset'
val_fraction = 0.05
train_set = dict(
    type='BinarySegDataset',
    data_root=data_root,
    image_dir='train/train_A',
    mask_dir='train/train_B',
    published=dict(images=1330, size=(640, 480)),
    val_fraction=val_fraction,
    **_base_.files)
train_dataloader = dict(dataset=dict(name='ISTD-train', part='train', pipeline=_base_.train_pipeline, **train_set))
val_dataloader = dict(
    **_base_.test_dataloader, dataset=dict(name='ISTD-val', part='val', pipeline=_base_.test_pipeline, **train_set))
test_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='ISTD',
        data_root=data_root,
        image_dir='test/test_A',
        mask_dir='test/test_B',
        published=dict(split='test', images=540, size=(640, 480)),
        pipeline=_base_.test_pipeline,
        **_base_.files))
test_evaluator = [dict(type='BERMetric')]
val_evaluator = test_evaluator
