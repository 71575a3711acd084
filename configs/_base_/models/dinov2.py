# The encoder DINOv2 of any published size: arch is vits14, vitb14, vitl14 or vitg14 (384, 768, 1024 or 1536 channels; 22, 87, 304
# or 1,136 M parameters), or one of these with _reg4 for the models with four registers.
# dinov2_checkpoint may be a file or an address: --cfg-options dinov2_checkpoint=hf://facebook/dinov2-small
# img_size is the square to which images are padded; the encoder takes any size in multiples of 14 pixels.
arch = 'vits14'
img_size = 224
dinov2_checkpoint = f'https://dl.fbaipublicfiles.com/dinov2/dinov2_{arch[:6]}/dinov2_{arch}_pretrain.pth'
model = dict(
    backbone=dict(
        type='DINOv2ViT',
        arch=arch,
        img_size=img_size,
        init_cfg=dict(type='Pretrained', checkpoint=dinov2_checkpoint)))
