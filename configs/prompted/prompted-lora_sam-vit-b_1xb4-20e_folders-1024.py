# SAM ViT-B, with LoRA in its frozen encoder and its mask decoder fine-tuned, with simulated clicks and boxes; it stays
# promptable. The settings are ours.
# 1 GPU, 4 images. Rank 8 on query, key and value of every block.
# Train 70 %, validate 15 %, test 15 % of data_root/{images,masks}, by name; the white area of a mask is one object.
# Published result: none. Memory: not measured.
_base_ = './prompted-decoder_sam-vit-b_1xb4-20e_folders-1024.py'

with_cp = True
model = dict(
    backbone=dict(with_cp=with_cp), adapter=dict(type='LoRAAdapter', r=8, alpha=16, target_modules=['qkv']))
