# SAM 2.1 Hiera-S, all parameters fine-tuned on images of several objects with the published settings of SAM 2's
# training: images resized to a square, flipped, rotated, sheared and recoloured; one image of up to 3 objects in a
# batch; a click or a box and 7 corrections; learning rates of 5e-6 and, in the encoder, 3e-6 with a layer decay of 0.9.
# Ours: number of epochs, precision (float32; published: bfloat16, --amp) and masks resized by nearest neighbour.
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
model = dict(backbone=dict(img_size=_base_.img_size, frozen=False, with_cp=with_cp))
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='RandomRotateShear', angle=25, shear=20),
    dict(
        type='mmdet.Resize',
        scale=(_base_.img_size, _base_.img_size),
        keep_ratio=False,
        backend='pillow'),
    dict(type='ColorJitter', brightness=0.1, contrast=0.03, saturation=0.03),
    dict(
        type='RandomGrayscale',
        prob=0.05,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.299)),
    dict(type='ColorJitter', brightness=0.1, contrast=0.05, saturation=0.05),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=0.6)), bias_decay_mult=0.0, norm_decay_mult=0.0, layer_decay=0.9))
