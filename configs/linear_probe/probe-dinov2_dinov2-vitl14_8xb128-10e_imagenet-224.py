# As probe-dinov2_dinov2-vits14_8xb128-10e_imagenet-224, with ViT-L/14. Registers: --cfg-options arch=vitl14_reg4
# Published result (top-1 on ImageNet-1k val): 86.3; with registers 86.7. Memory: ../../docs/memory.md.
_base_ = './probe-dinov2_dinov2-vits14_8xb128-10e_imagenet-224.py'

arch = 'vitl14'
