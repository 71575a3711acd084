# As texturesam-mild_sam2.1-hiera-s_1xb1-40e_ade20k-1024, with SAM 2.1 Hiera-T.
# Published result: none. Memory: not measured.
_base_ = './texturesam-mild_sam2.1-hiera-s_1xb1-40e_ade20k-1024.py'

arch = 'hiera_t'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt'
