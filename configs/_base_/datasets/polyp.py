# Polyps, the bundle of PraNet (Fan et al., MICCAI 2020): train on 900 images of Kvasir and 550 of CVC-ClinicDB,
# test on five sets.
# Layout: TrainDataset/{image,mask}, TestDataset/<SET>/{images,masks}; all png.
# Masks have grey edges: foreground above 128.
# Source: https://github.com/DengPingFan/PraNet. Licence: each set's own; research use.
# Validation: a twentieth of the training images, selected by name; nothing is selected on test sets.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/Polyp'
mask_values = '0/255'
val_fraction = 0.05
train_set = dict(
    type='BinarySegDataset',
    data_root=data_root,
    image_dir='TrainDataset/image',
    mask_dir='TrainDataset/mask',
    published=dict(images=1450),
    val_fraction=val_fraction,
    **_base_.files)
train_dataloader = dict(dataset=dict(name='Polyp-train', part='train', pipeline=_base_.train_pipeline, **train_set))
val_dataloader = dict(
    **_base_.test_dataloader, dataset=dict(name='Polyp-val', part='val', pipeline=_base_.test_pipeline, **train_set))
test_dataloader = dict(
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='BinarySegDataset',
                name=name,
                data_root=data_root,
                image_dir=f'TestDataset/{name}/images',
                mask_dir=f'TestDataset/{name}/masks',
                published=dict(split='test', images=images),
                pipeline=_base_.test_pipeline,
                **_base_.files)
            for name, images in (('CVC-300', 60), ('CVC-ClinicDB', 62), ('CVC-ColonDB', 380),
                                 ('ETIS-LaribPolypDB', 196), ('Kvasir', 100))
        ]))
test_evaluator = [dict(type='OverlapMetric'), dict(type='SaliencyMetric')]
val_evaluator = test_evaluator
