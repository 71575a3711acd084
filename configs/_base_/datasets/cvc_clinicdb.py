# CVC-ClinicDB (Bernal et al., CMIG 2015): 612 frames of polyps in 31 sequences, 384x288. Frames of a sequence are
# near-duplicates, so a split by frame, as this one (a tenth, selected by name), gives scores that are too high; the
# PraNet bundle (polyp.py) has the split that papers use.
# Layout: Original, Ground Truth; both tif (images that Pillow refuses and OpenCV reads), some masks with grey edges.
# Source: https://polyp.grand-challenge.org/CVCClinicDB/.
# Licence: images belong to Hospital Clinic Barcelona; research use.
_base_ = ['../binary_seg.py', '../file_settings.py']

data_root = 'data/CVC-ClinicDB'
mask_values = '0/255'
val_fraction = 0.1
train_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='CVC-ClinicDB-train',
        data_root=data_root,
        image_dir='Original',
        mask_dir='Ground Truth',
        part='train',
        val_fraction=val_fraction,
        published=dict(images=612, size=(384, 288)),
        pipeline=_base_.train_pipeline,
        **_base_.files))
test_dataloader = dict(
    dataset=dict(
        type='BinarySegDataset',
        name='CVC-ClinicDB',
        data_root=data_root,
        image_dir='Original',
        mask_dir='Ground Truth',
        part='val',
        val_fraction=val_fraction,
        published=dict(images=612, size=(384, 288)),
        pipeline=_base_.test_pipeline,
        **_base_.files))
test_evaluator = [dict(type='OverlapMetric'), dict(type='SaliencyMetric')]
