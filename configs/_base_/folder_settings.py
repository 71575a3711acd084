# Your own folder of images and masks for all sets of a config: data_root/images and data_root/masks, paired by name.
# docs/data.md explains all settings.
_base_ = './file_settings.py'

data_root = 'data/mine'
image_dir = 'images'
mask_dir = 'masks'
img_suffix = None
seg_map_suffix = None
recursive = False
include = '*'
extra_masks = False
ann_file = ''
val_fraction = 0.15
test_fraction = 0.15
folder = dict(
    type='BinarySegDataset',
    data_root=data_root,
    image_dir=image_dir,
    mask_dir=mask_dir,
    img_suffix=img_suffix,
    seg_map_suffix=seg_map_suffix,
    recursive=recursive,
    include=include,
    extra_masks=extra_masks,
    ann_file=ann_file,
    val_fraction=val_fraction,
    test_fraction=test_fraction,
    **_base_.files)
