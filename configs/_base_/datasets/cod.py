# Camouflaged objects, the joint bundle of SINet: train on CAMO + COD10K, test on CAMO, CHAMELEON, COD10K and NC4K.
# Layout: TrainDataset/{Imgs,GT}, TestDataset/<SET>/{Imgs,GT}; images jpg, masks png 0/255.
# Source: https://github.com/DengPingFan/SINet (CHAMELEON's own page is gone).
# Licence: none stated for the bundle; research use.
# Validation: a twentieth of the training images, selected by name; nothing is selected on test sets.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/COD'
val_fraction = 0.05
train_set = dict(
    type='BinarySegDataset',
    data_root=data_root,
    image_dir='TrainDataset/Imgs',
    mask_dir='TrainDataset/GT',
    published=dict(images=4040),
    val_fraction=val_fraction,
    **_base_.files)
train_dataloader = dict(dataset=dict(name='COD-train', part='train', pipeline=_base_.train_pipeline, **train_set))
val_dataloader = dict(
    **_base_.test_dataloader, dataset=dict(name='COD-val', part='val', pipeline=_base_.test_pipeline, **train_set))
test_dataloader = dict(
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='BinarySegDataset',
                name=name,
                data_root=data_root,
                image_dir=f'TestDataset/{name}/Imgs',
                mask_dir=f'TestDataset/{name}/GT',
                published=dict(split='test', images=images),
                pipeline=_base_.test_pipeline,
                **_base_.files)
            for name, images in (('CAMO', 250), ('CHAMELEON', 76), ('COD10K', 2026), ('NC4K', 4121))
        ]))
test_evaluator = [dict(type='SaliencyMetric')]
val_evaluator = test_evaluator
