# The preset fair on your own images, a folder for each class; the number of classes is counted in the folders.
# Configs based on this file set the encoder: model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder)).
_base_ = ['./fair.py', '../datasets/class_folders.py']

num_classes = None
num_workers = 4
train_dataloader = dict(dataset=dict(name='train', part='train', pipeline=_base_.train_pipeline, **_base_.train_images))
val_dataloader = dict(dataset=dict(name='val', part='val', pipeline=_base_.test_pipeline, **_base_.train_images))
test_dataloader = dict(dataset=dict(name='test', pipeline=_base_.test_pipeline, **_base_.test_images))
