# Your own images: data_root/images and data_root/masks, paired by name; 15 % for validation and 15 % for the test,
# selected by name. Variables for other layouts and mask values: ../folder_settings.py.
_base_ = ['../binary_seg.py', '../folder_settings.py']

train_dataloader = dict(dataset=dict(name='train', part='train', pipeline=_base_.train_pipeline, **_base_.folder))
val_dataloader = dict(
    **_base_.test_dataloader, dataset=dict(name='val', part='val', pipeline=_base_.test_pipeline, **_base_.folder))
test_dataloader = dict(dataset=dict(name='test', part='test', pipeline=_base_.test_pipeline, **_base_.folder))
test_evaluator = [dict(type='SaliencyMetric'), dict(type='OverlapMetric')]
val_evaluator = test_evaluator
