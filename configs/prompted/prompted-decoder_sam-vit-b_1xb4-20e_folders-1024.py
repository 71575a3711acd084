# SAM ViT-B, its mask decoder fine-tuned with simulated clicks and boxes on images of your own; it stays promptable. Ours.
# 1 GPU, 4 images. Encoder and prompt encoder are frozen. A session: a click or a box, then 7 clicks where the answer is wrong.
# Train 70 %, validate 15 %, test 15 % of data_root/images and data_root/masks, by name; the white of a mask is one object.
# Published result: none. Memory: not measured.
_base_ = [
    '../_base_/prompted_folders.py',
    '../_base_/models/promptable_sam-vit-b.py',
]

keep_ratio = True
batch_size = 4
model = dict(backbone=dict(img_size=_base_.img_size, frozen=True), frozen=['decode_head.prompt_encoder'])
