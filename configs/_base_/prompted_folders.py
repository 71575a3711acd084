# Prompted fine-tuning on your own images: AdamW, 20 epochs, cosine schedule to a tenth. The settings are ours, except
# for the clipping of gradients, which is SAM 2's.
_base_ = ['./default_runtime.py', './datasets/folders.py']

batch_size = 4
max_epochs = 20
lr = 1e-4
weight_decay = 0.01
base_batch_size = 4
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=weight_decay), clip_grad=dict(max_norm=0.1))
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min_ratio=0.1, by_epoch=True, T_max=max_epochs, convert_to_iter_based=True)
]
auto_scale_lr = dict(enable=False, base_batch_size=base_batch_size)
test_evaluator = [dict(type='ClickMetric')]
val_evaluator = test_evaluator
default_hooks = dict(checkpoint=dict(save_best='IoU@1'))
