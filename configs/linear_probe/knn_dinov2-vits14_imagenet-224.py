# DINOv2's evaluation by nearest neighbours: class tokens of all training images are the bank; nothing is trained.
# python tools/test.py knn_dinov2-vits14_imagenet-224 none. Other sizes and registers: --cfg-options arch=vitb14_reg4
# Published results (top-1 on ImageNet-1k val): 79.0, with registers 79.1; README.md has those of the other sizes.
_base_ = ['../_base_/probes/knn.py', '../_base_/encoders/dinov2.py', '../_base_/datasets/imagenet.py']

model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
test_dataloader = dict(
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(bank=True, pipeline=_base_.test_pipeline, **_base_.train_images),
            dict(pipeline=_base_.test_pipeline, **_base_.test_images),
        ]))
