# Step 2 of 2: clicks, with the encoder trained on, from the checkpoint of affinity_scenes-128.py.
#   python tools/train.py projects/texture_small/clicks_scenes-192.py --cfg-options encoder=CHECKPOINT
#   textures=DTD/images bsds_root=BSDS
# Result: README.md.
_base_ = './_base_/scenes.py'

encoder = 'work_dirs/affinity_scenes-128/iter_1800.pth'
img_size = 192
batch_size = 6
clicks = 8
max_iters = 700
val_interval = 350
lr = 5e-4
load_from = encoder
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.4))))
