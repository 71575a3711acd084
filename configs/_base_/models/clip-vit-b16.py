# CLIP's frozen ViT-B/16, the image encoder alone: 86.2 M parameters, 768 channels, embeddings of 512 values.
_base_ = './clip-vit-b32.py'

arch = 'vit_b16'
clip_checkpoint = 'hf://openai/clip-vit-base-patch16'
