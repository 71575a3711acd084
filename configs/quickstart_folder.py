# The quickstart's model on your own data: DATA_ROOT/images and DATA_ROOT/masks, paired by file name.
# Train: four fifths of the pairs. Test: the rest, selected by the hash of the name (`make quickstart DATA=folder`).
# Variables for other layouts and mask values: _base_/folder_settings.py.
_base_ = ['./quickstart.py', './_base_/folder_settings.py']

data_root = 'data/my_folder'
val_fraction = 0.2
test_fraction = 0.0
train_dataloader = dict(
    dataset=dict(_delete_=True, part='train', pipeline=_base_.train_pipeline, **_base_.folder))
test_dataloader = dict(dataset=dict(_delete_=True, part='val', pipeline=_base_.test_pipeline, **_base_.folder))
