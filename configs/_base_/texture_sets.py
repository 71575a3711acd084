# Test sets of texture segmentation. test_sets chooses among them: a row of scores for each. Configs based on this file
# make the loader of them (../_base_/texture_test.py, ../texture/).
# RWTD: 256 photographs of two textures. images or images_textured, labels or labeles (TextureSAM's Kaust256 folder).
# STMD: images_test and labels_test (TextureSAM's Drive), or images and groundtruth (mubashar1030/Segmentation_dataset);
#   test.txt lists the test images, a number a line; stmd_list='' takes all images.
# ADE20K: images and ADE20K_unified_gt_instances, or gt_instances (tools/prepare_data.py ade20k makes the former of it).
# Source: https://github.com/Scientific-Computing-Lab/TextureSAM. Licence: none stated for the data; research use.
test_sets = ['rwtd']
rwtd_root = 'data/RWTD'
rwtd_image_dir = None  # 'images_textured'
stmd_root = 'data/STMD'
stmd_list = 'test.txt'
ade20k_root = 'data/ADE20K_real_images'
texture_sets = dict(
    rwtd=dict(
        type='TextureSegDataset',
        layout='rwtd',
        name='RWTD',
        data_root=rwtd_root,
        image_dir=rwtd_image_dir,
        published=dict(split='test', images=256, size=(256, 256))),
    stmd=dict(
        type='TextureSegDataset',
        layout='stmd',
        name='STMD',
        data_root=stmd_root,
        ann_file=stmd_list,
        published=dict(split='test')),
    ade20k=dict(
        type='TextureSegDataset',
        layout='ade20k',
        name='ADE20K',
        data_root=ade20k_root,
        published=dict(split='test', images=2000)))
# Our scores, and those of TextureSAM's scripts with the published ones below.
texture_evaluator = [
    dict(type='TextureMetric'),
    dict(type='TextureMetric', mode='texturesam', prefix='texturesam', published=True),
]
