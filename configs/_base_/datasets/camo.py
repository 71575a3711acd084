# CAMO v1.0 (Le et al., CVIU 2019): 1,250 images of camouflaged objects, 1,000 to train and 250 to test.
# Layout: Images/{Train,Test}, one GT folder for both; images jpg, masks png 0/255.
# Source: https://sites.google.com/view/ltnghia/research/camo. Licence: none stated; the authors ask for a citation.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/CAMO-V.1.0-CVIU2019'
train_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='CAMO-train',
        data_root=data_root,
        image_dir='Images/Train',
        mask_dir='GT',
        extra_masks=True,
        published=dict(images=1000),
        pipeline=_base_.train_pipeline,
        **_base_.files))
test_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='CAMO',
        data_root=data_root,
        image_dir='Images/Test',
        mask_dir='GT',
        extra_masks=True,
        published=dict(split='test', images=250),
        pipeline=_base_.test_pipeline,
        **_base_.files))
test_evaluator = [dict(type='SaliencyMetric')]
