# Salient objects: train on DUTS-TR, test on DUTS-TE, ECSSD, DUT-OMRON, HKU-IS and PASCAL-S, each in its own folder under data_root.
# The layouts are those that the sets are usually passed on in; where yours differs, set image_dir and mask_dir (the check says so).
# Masks: PASCAL-S grey by number of annotators, DUTS and others anti-aliased: foreground above 128. Licences: none stated.
# Sources: DUTS http://saliencydetection.net/duts/, DUT-OMRON http://saliencydetection.net/dut-omron/,
# ECSSD https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html,
# HKU-IS https://i.cs.hku.hk/~gbli/deep_saliency.html, PASCAL-S https://cbs.ic.gatech.edu/salobj/
_base_ = './duts.py'

data_root = 'data'
train_dataloader = dict(dataset=dict(data_root=f'{data_root}/DUTS'))
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(
                type='BinarySegDataset',
                name=name,
                data_root=f'{data_root}/{folder}',
                image_dir=image_dir,
                mask_dir=mask_dir,
                mask_values='0/255',
                published=dict(images=images),
                pipeline=_base_.test_pipeline)
            for name, folder, image_dir, mask_dir, images in (
                ('DUTS-TE', 'DUTS', 'DUTS-TE/DUTS-TE-Image', 'DUTS-TE/DUTS-TE-Mask', 5019),
                ('ECSSD', 'ECSSD', 'images', 'ground_truth_mask', 1000),
                ('DUT-OMRON', 'DUT-OMRON', 'DUT-OMRON-image', 'pixelwiseGT-new-PNG', 5168),
                ('HKU-IS', 'HKU-IS', 'imgs', 'gt', 4447),
                ('PASCAL-S', 'PASCAL-S', 'images', 'masks', 850),
            )
        ]))
