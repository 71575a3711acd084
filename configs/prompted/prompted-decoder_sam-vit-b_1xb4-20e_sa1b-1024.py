# As prompted-decoder_sam-vit-b_1xb4-20e_folders-1024, on images of several objects.
# Published result: none. Memory: not measured.
_base_ = [
    '../_base_/prompted_sa1b.py',
    '../_base_/models/promptable_sam-vit-b.py',
]

keep_ratio = True
model = dict(backbone=dict(img_size=_base_.img_size, frozen=True), frozen=['decode_head.prompt_encoder'])
