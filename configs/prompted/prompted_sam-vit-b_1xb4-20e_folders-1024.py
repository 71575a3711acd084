# SAM ViT-B, everything fine-tuned with simulated clicks and boxes on images of your own. Ours.
# 1 GPU, 4 images. A session: a click or a box, then 7 clicks where the answer is wrong.
# SAM 2's rates: 5e-6, 3e-6 in the encoder and falling by 0.9 from block to block; decay 0.1, none for biases and norms.
# Train 70 %, validate 15 %, test 15 % of data_root/images and data_root/masks, by name; the white of a mask is one object.
# Published result: none. Memory: not measured.
_base_ = [
    '../_base_/prompted_folders.py',
    '../_base_/models/promptable_sam-vit-b.py',
]

keep_ratio = True
batch_size = 4
lr = 5e-6
weight_decay = 0.1
with_cp = True
model = dict(backbone=dict(img_size=_base_.img_size, frozen=False, with_cp=with_cp))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=0.6)), bias_decay_mult=0.0, norm_decay_mult=0.0, layer_decay=0.9))
