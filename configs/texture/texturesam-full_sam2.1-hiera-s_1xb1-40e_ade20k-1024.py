# TextureSAM, eta <= 1: as texturesam-mild_sam2.1-hiera-s_1xb1-40e_ade20k-1024, on images with textures of all degrees.
# Data: tools/prepare_data.py texture-augment --set full. The published checkpoint is that of epoch 25.
# Published result on RWTD: mIoU .42, ARI .54, aggregated mIoU .76. Ours: not trained. Memory: not measured.
_base_ = './texturesam-mild_sam2.1-hiera-s_1xb1-40e_ade20k-1024.py'

data_root = 'data/ADE20K_textured_full'
