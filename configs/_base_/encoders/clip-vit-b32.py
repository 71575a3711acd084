# CLIP's ViT-B/32, the image encoder alone: 87.8 M parameters, 768 channels, embeddings of 512 values.
# clip_checkpoint may be a file, such as OpenAI's ViT-B-32.pt, or another address. Files do not tell their activation:
# OpenAI's weights need quick_gelu, those of LAION gelu:
# --cfg-options clip_checkpoint=hf://laion/CLIP-ViT-B-32-laion2B-s34B-b79K activation=gelu
arch = 'vit_b32'
activation = 'quick_gelu'
clip_checkpoint = 'hf://openai/clip-vit-base-patch32'
encoder = dict(
    type='CLIPViT',
    arch=arch,
    project=True,
    activation=activation,
    init_cfg=dict(type='Pretrained', checkpoint=clip_checkpoint))
