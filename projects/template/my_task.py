# A new task from a folder of images and a folder of masks: TS-SAM on SAM ViT-B, as for camouflaged objects. Copy this
# file, rename it and set data_root.
#   python tools/check_data.py projects/my_task/my_task.py
#   python tools/train.py projects/my_task/my_task.py
#   python tools/test.py projects/my_task/my_task.py work_dirs/my_task/best_mDice_epoch_N.pth
_base_ = [
    'samplug::_base_/schedules/ts-sam.py',
    'samplug::_base_/datasets/folders.py',
    'samplug::_base_/models/ts-sam_sam-vit-b.py',
]

data_root = 'data/my_task'
img_size = 1024
batch_size = 2
max_epochs = 20
lr = 8e-4
base_batch_size = 2  # to which lr belongs; --auto-scale-lr compares batches with it

model = dict(backbone=dict(img_size=img_size), loss='bce_iou')
default_hooks = dict(checkpoint=dict(save_best='mDice'))
# Your own transforms, metrics, losses and models: docs/new_task.md.
# custom_imports = dict(imports=['samplug', 'projects.my_task.parts'])
