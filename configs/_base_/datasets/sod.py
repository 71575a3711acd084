# Salient objects: train on DUTS-TR, test on DUTS-TE, ECSSD, DUT-OMRON, HKU-IS and PASCAL-S, each a folder in data_root.
# The layouts are those in which the datasets are usually distributed. If yours differs, set image_dir and mask_dir
# (tools/check_data.py reports differences).
# Masks: PASCAL-S grey by number of annotators, DUTS and others anti-aliased: foreground above 128.
# Licences: none stated.
# Sources: DUTS http://saliencydetection.net/duts/, DUT-OMRON http://saliencydetection.net/dut-omron/,
# ECSSD https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html,
# HKU-IS https://i.cs.hku.hk/~gbli/deep_saliency.html, PASCAL-S https://cbs.ic.gatech.edu/salobj/
# Validation: a twentieth of the training images, selected by name; nothing is selected on test sets.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data'
mask_values = '0/255'
val_fraction = 0.05
train_set = dict(
    type='BinarySegDataset',
    data_root=f'{data_root}/DUTS',
    image_dir='DUTS-TR/DUTS-TR-Image',
    mask_dir='DUTS-TR/DUTS-TR-Mask',
    published=dict(images=10553),
    val_fraction=val_fraction,
    **_base_.files)
train_dataloader = dict(dataset=dict(name='DUTS-TR', part='train', pipeline=_base_.train_pipeline, **train_set))
val_dataloader = dict(
    **_base_.test_dataloader, dataset=dict(name='DUTS-TR-val', part='val', pipeline=_base_.test_pipeline, **train_set))
test_dataloader = dict(
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='BinarySegDataset',
                name=name,
                data_root=f'{data_root}/{folder}',
                image_dir=image_dir,
                mask_dir=mask_dir,
                published=dict(split='test', images=images),
                pipeline=_base_.test_pipeline,
                **_base_.files)
            for name, folder, image_dir, mask_dir, images in (
                ('DUTS-TE', 'DUTS', 'DUTS-TE/DUTS-TE-Image', 'DUTS-TE/DUTS-TE-Mask', 5019),
                ('ECSSD', 'ECSSD', 'images', 'ground_truth_mask', 1000),
                ('DUT-OMRON', 'DUT-OMRON', 'DUT-OMRON-image', 'pixelwiseGT-new-PNG', 5168),
                ('HKU-IS', 'HKU-IS', 'imgs', 'gt', 4447),
                ('PASCAL-S', 'PASCAL-S', 'images', 'masks', 850),
            )
        ]))
test_evaluator = [dict(type='SaliencyMetric')]
val_evaluator = test_evaluator
