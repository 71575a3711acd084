# SAM 2.1 Hiera-B+, all parameters fine-tuned with simulated clicks and boxes on your own images. The settings are ours.
# 1 GPU, 4 images. Interactions: a click or a box, then 7 clicks on errors.
# SAM 2's learning rates: 5e-6, in the encoder 3e-6 with layer decay 0.9. Weight decay 0.1, except biases and norms.
# Train 70 %, validate 15 %, test 15 % of data_root/{images,masks}, by name; the white area of a mask is one object.
# Published result: none. Memory: not measured.
_base_ = [
    '../_base_/prompted_folders.py',
    '../_base_/models/promptable_sam2.1-hiera-b-plus.py',
]

batch_size = 4
lr = 5e-6
weight_decay = 0.1
with_cp = True
model = dict(backbone=dict(img_size=_base_.img_size, frozen=False, with_cp=with_cp))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=0.6)), bias_decay_mult=0.0, norm_decay_mult=0.0, layer_decay=0.9))
