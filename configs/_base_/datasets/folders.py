# Your own images: data_root/images and data_root/masks, paired by name; 15 % for validation and 15 % for the test,
# selected by name.
# Other layouts: image_dir, mask_dir, img_suffix, seg_map_suffix, recursive, ann_file (docs/data.md).
_base_ = '../binary_seg.py'

data_root = 'data/mine'
image_dir = 'images'
mask_dir = 'masks'
val_fraction = 0.15
test_fraction = 0.15
folder = dict(
    type='BinarySegDataset',
    data_root=data_root,
    image_dir=image_dir,
    mask_dir=mask_dir,
    val_fraction=val_fraction,
    test_fraction=test_fraction)
train_dataloader = dict(dataset=dict(name='train', part='train', pipeline=_base_.train_pipeline, **folder))
val_dataloader = dict(
    **_base_.test_dataloader, dataset=dict(name='val', part='val', pipeline=_base_.test_pipeline, **folder))
test_dataloader = dict(dataset=dict(name='test', part='test', pipeline=_base_.test_pipeline, **folder))
test_evaluator = [dict(type='SaliencyMetric'), dict(type='OverlapMetric')]
val_evaluator = test_evaluator
