# SAM's frozen ViT-H with SAM's own decoder: 637.0 M parameters frozen, 3.5 M of the decoder trained.
_base_ = './segmentor_sam-vit-b.py'

arch = 'vit_h'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth'
