# As probe-dinov2_dinov2-vits14_8xb128-10e_imagenet-224, with ViT-g/14. Registers: --cfg-options arch=vitg14_reg4
# Published result (top-1 on ImageNet-1k val): 86.5; with registers 87.1. Memory: ../../docs/memory.md.
_base_ = './probe-dinov2_dinov2-vits14_8xb128-10e_imagenet-224.py'

arch = 'vitg14'
