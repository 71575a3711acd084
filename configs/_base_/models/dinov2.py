# The encoder DINOv2 as backbone; ../encoders/dinov2.py has its sizes and the address of its weights.
# img_size is the square to which images are padded; the encoder takes any size in multiples of 14 pixels.
_base_ = '../encoders/dinov2.py'

img_size = 224
model = dict(backbone=dict(img_size=img_size, **_base_.encoder))
