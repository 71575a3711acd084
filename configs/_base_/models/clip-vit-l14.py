# CLIP's frozen ViT-L/14, the image encoder alone: 304.0 M parameters, 1024 channels, embeddings of 768 values.
_base_ = './clip-vit-b32.py'

arch = 'vit_l14'
clip_checkpoint = 'hf://openai/clip-vit-large-patch14'
