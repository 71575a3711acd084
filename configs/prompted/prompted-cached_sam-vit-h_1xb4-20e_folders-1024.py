# As prompted-cached_sam-vit-b_1xb4-20e_folders-1024, with SAM ViT-H.
# Published result: none. Memory: not measured.
_base_ = './prompted-cached_sam-vit-b_1xb4-20e_folders-1024.py'

arch = 'vit_h'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth'
