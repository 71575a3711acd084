# TS-SAM on SAM's ViT-L: 308.3 M parameters frozen, 20.4 M trained (20.6 M with use_fft).
_base_ = './ts-sam_sam-vit-b.py'

arch = 'vit_l'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth'
