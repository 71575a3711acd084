# CLIP's frozen ViT-B/32 as backbone; ../encoders/clip-vit-b32.py has its weights and activation.
# img_size is the square to which images are padded; the encoder takes any size in multiples of the patch size.
_base_ = '../encoders/clip-vit-b32.py'

img_size = 224
model = dict(backbone=dict(img_size=img_size, **_base_.encoder))
