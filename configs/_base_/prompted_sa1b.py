# Prompted fine-tuning on images of several objects in SA-1B's layout: a.jpg and a.json beside it under data_root
# (docs/data.md; tools/prepare_data.py to-sa1b converts COCO, label maps or a mask for each object, to DST/images). 70 %
# for training, 15 % for validation, 15 % for the test, selected by name.
_base_ = './prompted_folders.py'

data_root = 'data/sa1b'
image_dir = ''
ann_dir = ''
extra_annotations = False
max_objects = 3  # of an image, a new random choice in each epoch, as in SAM 2's training; a test uses all
min_area = 16  # pixels
max_area = None
img_size = 1024
keep_ratio = False
meta_keys = ('img_id', 'img_path', 'dataset_name', 'ori_shape', 'img_shape', 'flip', 'flip_direction')
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='mmdet.Resize', scale=(img_size, img_size), keep_ratio=keep_ratio, backend='pillow'),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys),
]
# Ground truth is loaded after resizing, so that predictions are scored at the original size.
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmdet.Resize', scale=(img_size, img_size), keep_ratio=keep_ratio, backend='pillow'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys),
]
objects = dict(
    type='SA1BDataset',
    data_root=data_root,
    image_dir=image_dir,
    ann_dir=ann_dir,
    recursive=_base_.recursive,
    include=_base_.include,
    extra_annotations=extra_annotations,
    min_area=min_area,
    max_area=max_area,
    val_fraction=_base_.val_fraction,
    test_fraction=_base_.test_fraction,
    check=_base_.check,
    on_error=_base_.on_error)
train_dataloader = dict(
    dataset=dict(
        _delete_=True, name='train', part='train', max_objects=max_objects, pipeline=train_pipeline, **objects))
val_dataloader = dict(dataset=dict(_delete_=True, name='val', part='val', pipeline=test_pipeline, **objects))
test_dataloader = dict(dataset=dict(_delete_=True, name='test', part='test', pipeline=test_pipeline, **objects))
