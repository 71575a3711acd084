# Training of LoRA in the encoder, and of the mask decoder, of a prompted-small model on other images.
#   python tools/train.py projects/small/prompted-small-lora_folders-256.py --cfg-options data_root=DATA source=CHECKPOINT
_base_ = './prompted-small_folders-256.py'

source = 'work_dirs/prompted-small_folders-256/iter_800.pth'
max_iters = 400
val_interval = 100
lr = 2e-4
model = dict(
    backbone=dict(frozen=True, init_cfg=dict(type='Pretrained', checkpoint=source)),
    adapter=dict(type='LoRAAdapter', r=8, alpha=16, target_modules=['qkv']),
    decode_head=dict(init_cfg=dict(type='Pretrained', checkpoint=source)),
    frozen=['decode_head.prompt_encoder'])
