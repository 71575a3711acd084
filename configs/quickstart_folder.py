# The quickstart's model on your own data: DATA_ROOT/images and DATA_ROOT/masks, paired by file name.
# Train: four fifths of the pairs. Test: the rest, selected by the hash of the name (`make quickstart DATA=folder`).
_base_ = './quickstart.py'

data_root = 'data/my_folder'
val_fraction = 0.2
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='BinarySegDataset',
        data_root=data_root,
        part='train',
        val_fraction=val_fraction,
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='BinarySegDataset',
        data_root=data_root,
        part='val',
        val_fraction=val_fraction,
        pipeline=_base_.test_pipeline))
