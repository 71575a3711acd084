# Kvasir-SEG (Jha et al., MMM 2020): 1,000 images of polyps. There is no single official split: a tenth, selected by
# name, is the test set here. Papers use the PraNet bundle (polyp.py) or Medico 2020; their numbers are not comparable.
# Layout: images, masks; both jpg, so that masks have grey edges (foreground above 128).
# Source: https://datasets.simula.no/kvasir-seg/. Licence: research and education.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/Kvasir-SEG'
mask_values = '0/255'
val_fraction = 0.1
train_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='Kvasir-SEG-train',
        data_root=data_root,
        part='train',
        val_fraction=val_fraction,
        published=dict(images=1000),
        pipeline=_base_.train_pipeline,
        **_base_.files))
test_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='Kvasir-SEG',
        data_root=data_root,
        part='val',
        val_fraction=val_fraction,
        published=dict(images=1000),
        pipeline=_base_.test_pipeline,
        **_base_.files))
test_evaluator = [dict(type='OverlapMetric'), dict(type='SaliencyMetric')]
