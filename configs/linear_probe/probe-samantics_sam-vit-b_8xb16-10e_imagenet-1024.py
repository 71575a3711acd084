# SAM ViT-B, as the table of "There is no SAMantics" has it: the mean of the neck's map.
# The published run chose its checkpoint by the test images: --cfg-options select=val
# Published result (ImageNet-1k val): top-1 11.06, top-5 25.37. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/samantics_imagenet.py', '../_base_/encoders/sam-vit-b.py']

batch_size = 16
img_size = 1024
keep_ratio = False
source = 'neck'
poolings = ['mean']
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
