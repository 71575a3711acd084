# As probe-fair_sam-vit-b_8xb32-30e_imagenet-1024, with SAM ViT-H.
# Published result: none. Memory: ../../docs/memory.md.
_base_ = './probe-fair_sam-vit-b_8xb32-30e_imagenet-1024.py'

arch = 'vit_h'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth'
