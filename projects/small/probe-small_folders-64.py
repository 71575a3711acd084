# Linear probe of a small encoder that was trained from scratch: the quickstart's, which learned camouflage of generated
# scenes. Your own images, in a folder for each class.
#   make quickstart
#   python tools/train.py projects/small/probe-small_folders-64.py --cfg-options data_root=DATA
# source: any checkpoint with this encoder; None: random weights, for comparison.
_base_ = 'samplug::_base_/probes/fair_folders.py'

source = 'quickstart_results/iter_1300.pth'
img_size = 64
interpolation = 'bilinear'
batch_size = 64
num_workers = 2
model = dict(
    backbone=dict(
        type='SAMViT',
        arch=dict(embed_dims=96, depth=4, num_heads=3, global_attn_indexes=(1, 3), window_size=4, patch_size=8),
        img_size=img_size,
        init_cfg=dict(type='Pretrained', checkpoint=source) if source else None))
