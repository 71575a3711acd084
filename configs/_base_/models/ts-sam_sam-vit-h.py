# TS-SAM on SAM's ViT-H: 637.0 M parameters frozen, 29.4 M trained (29.6 M with use_fft).
_base_ = './ts-sam_sam-vit-b.py'

arch = 'vit_h'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth'
