# The encoder DINOv2 of any published size: arch is vits14, vitb14, vitl14 or vitg14 (384, 768, 1024 or 1536 channels;
# 22, 87, 304 or 1,136 M parameters), or one of these with _reg4 for the models with four registers.
# dinov2_checkpoint may be a file or an address: --cfg-options dinov2_checkpoint=hf://facebook/dinov2-small
arch = 'vits14'
dinov2_checkpoint = f'https://dl.fbaipublicfiles.com/dinov2/dinov2_{arch[:6]}/dinov2_{arch}_pretrain.pth'
encoder = dict(type='DINOv2ViT', arch=arch, init_cfg=dict(type='Pretrained', checkpoint=dinov2_checkpoint))
