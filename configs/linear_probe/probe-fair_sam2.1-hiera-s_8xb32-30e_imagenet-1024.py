# As probe-fair_sam2.1-hiera-t_8xb32-30e_imagenet-1024, with SAM 2.1 Hiera-S.
# Published result: none. Memory: ../../docs/memory.md.
_base_ = './probe-fair_sam2.1-hiera-t_8xb32-30e_imagenet-1024.py'

arch = 'hiera_s'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_small.pt'
