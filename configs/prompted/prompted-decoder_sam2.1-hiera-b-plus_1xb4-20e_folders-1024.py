# SAM 2.1 Hiera-B+, with its mask decoder fine-tuned on your own images with simulated clicks and boxes; it stays
# promptable. The settings are ours.
# 1 GPU, 4 images. Encoder and prompt encoder are frozen. Interactions: a click or a box, then 7 clicks on errors.
# Train 70 %, validate 15 %, test 15 % of data_root/{images,masks}, by name; the white area of a mask is one object.
# Published result: none. Memory: not measured.
_base_ = [
    '../_base_/prompted_folders.py',
    '../_base_/models/promptable_sam2.1-hiera-b-plus.py',
]

batch_size = 4
model = dict(backbone=dict(img_size=_base_.img_size, frozen=True), frozen=['decode_head.sam_prompt_encoder'])
