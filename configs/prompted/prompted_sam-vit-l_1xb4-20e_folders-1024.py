# As prompted_sam-vit-b_1xb4-20e_folders-1024, with SAM ViT-L.
# Published result: none. Memory: not measured.
_base_ = './prompted_sam-vit-b_1xb4-20e_folders-1024.py'

arch = 'vit_l'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth'
