# SAM 2.1's Hiera-T, the image encoder alone: 768 channels before the neck, 256 behind it.
# sam_checkpoint may be a file: --cfg-options sam_checkpoint=sam2.1_hiera_tiny.pt
arch = 'hiera_t'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt'
encoder = dict(type='SAM2Hiera', arch=arch, init_cfg=dict(type='Pretrained', checkpoint=sam_checkpoint))
