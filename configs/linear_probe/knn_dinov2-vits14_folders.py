# Your own images, a folder for each class, classified by nearest neighbours in DINOv2's class tokens. Nothing is
# trained.
# python tools/test.py knn_dinov2-vits14_folders none --cfg-options data_root=MY
# The bank has the images that probe_dinov2-vits14_folders learns from, and the test is the same.
# Published result: none.
_base_ = ['../_base_/probes/knn.py', '../_base_/encoders/dinov2.py', '../_base_/datasets/class_folders.py']

num_workers = 4
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
test_dataloader = dict(
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(bank=True, name='train bank', part='train', pipeline=_base_.test_pipeline, **_base_.train_images),
            dict(name='test', pipeline=_base_.test_pipeline, **_base_.test_images),
        ]))
