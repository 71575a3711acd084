# As probe-fair_sam-vit-b_8xb32-30e_imagenet-1024, with SAM ViT-L.
# Published result: none. Memory: ../../docs/memory.md.
_base_ = './probe-fair_sam-vit-b_8xb32-30e_imagenet-1024.py'

arch = 'vit_l'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth'
