# SAM 2.1 Hiera-S, everything fine-tuned on images of several objects with the published settings of SAM 2's training: images squashed to a
# square, one image of up to 3 objects in a batch, a click or a box and 7 corrections, rates of 5e-6 and 3e-6 falling by 0.9 from block to block.
# Ours are the epochs, the precision (float32, published bfloat16: --amp) and the augmentation, mirroring alone.
# Published result: none. Memory: not measured.
_base_ = [
    '../_base_/prompted_sa1b.py',
    '../_base_/models/promptable_sam2.1-hiera-b-plus.py',
]

arch = 'hiera_s'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_small.pt'
batch_size = 1
base_batch_size = 1
lr = 5e-6
weight_decay = 0.1
with_cp = True
model = dict(backbone=dict(img_size=_base_.img_size, with_cp=with_cp))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=0.6)), bias_decay_mult=0.0, norm_decay_mult=0.0, layer_decay=0.9))
