# TS-SAM's published training: AdamW at 8e-4 (weight decay .01 on all trained parameters), cosine schedule to 1e-7 by
# epoch, no warm-up, float32.
# 4xb2, as published: 4 GPUs, 2 images each, 80 epochs (shadow: 100), gradients synchronised: one model, batches of 8.
# 1xb2, as the released code actually trains: it takes the model out of its data-parallel wrapper, so that each GPU
# trains a separate model in batches of 2 on a quarter of the images of an epoch, and one of the four models is saved.
# This equals one GPU and a quarter of the epochs, 20 (shadow: 25): as many steps as 4xb2.
# The learning rate is the published one in both; --auto-scale-lr adapts it to another number of GPUs or batch size.
_base_ = '../default_runtime.py'

max_epochs = 80
lr = 8e-4
base_batch_size = 8
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=1e-7, by_epoch=True)]
auto_scale_lr = dict(enable=False, base_batch_size=base_batch_size)
# Batch normalisation uses the images of its GPU, as published. Its running statistics are averaged over GPUs after each
# epoch, so that all GPUs validate the model that is saved.
default_hooks = dict(sync_buffers=dict(type='SyncBuffersHook'))
