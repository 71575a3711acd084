# SAM ViT-B, its mask decoder fine-tuned with simulated clicks and boxes on images of your own; it stays promptable. Ours.
# 1 GPU, 4 images. Encoder and prompt encoder are frozen. A session: a click or a box, then 7 clicks where the answer is wrong.
# Train 70 %, validate 15 %, test 15 % of data_root/images and data_root/masks, by name; the white of a mask is one object.
# Validation and test: one click at the object's centre. Published result: none. Memory: not measured.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/folders.py',
    '../_base_/models/promptable_sam-vit-b.py',
]

keep_ratio = True
max_epochs = 20
lr = 1e-4
batch_size = 4
model = dict(backbone=dict(img_size=_base_.img_size, frozen=True), frozen=['decode_head.prompt_encoder'])

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01),
    clip_grad=dict(max_norm=0.1))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=1e-6, by_epoch=True)]
auto_scale_lr = dict(enable=False, base_batch_size=batch_size)
test_evaluator = [dict(type='OverlapMetric')]
val_evaluator = test_evaluator
default_hooks = dict(checkpoint=dict(save_best='IoU'))
