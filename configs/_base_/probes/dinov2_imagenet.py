# The preset dinov2 on ImageNet-1k. Configs based on this file set the encoder:
# model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder)).
# select=held_out chooses heads and checkpoints on a part of the training set; select=val, as published, on the
# validation images, which are also the test.
_base_ = ['./dinov2.py', '../datasets/imagenet.py']

on_test = _base_.select == 'val'
train_part = None if on_test else 'train'
val_images = _base_.test_images if on_test else dict(part='val', **_base_.train_images)
train_dataloader = dict(dataset=dict(part=train_part, pipeline=_base_.train_pipeline, **_base_.train_images))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline, **val_images))
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline, **_base_.test_images))
