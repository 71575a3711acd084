# TS-SAM at a size for minutes on a CPU: all parts of the published model. The encoder is trained too, because there are
# no pretrained weights of this size.
# Configs based on this file set the size of the encoder: model = dict(backbone=dict(img_size=_base_.img_size)).
model = dict(
    type='TSSAM',
    backbone=dict(
        type='SAMViT',
        arch=dict(embed_dims=96, depth=4, num_heads=3, global_attn_indexes=(1, 3), window_size=4, patch_size=8),
        frozen=False),
    adapter=dict(
        type='TSSAMSideNetwork',
        side_channels=32,
        csa_blocks=[0, 1, 2, 3],
        mrm_blocks=[3],
        use_fft=True,
        # Without pretrained weights, the released code's scrambled first embedding need not be kept.
        spatial_embedding=True),
    decode_head=dict(type='FeatureFusionDecoder'),
    loss='bce_iou')
