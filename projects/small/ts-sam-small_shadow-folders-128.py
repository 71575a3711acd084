# As ts-sam-small_folders-128, with the loss and the metric of shadow detection.
_base_ = './ts-sam-small_folders-128.py'

model = dict(loss='balanced_bce')
test_evaluator = [dict(type='BERMetric'), dict(type='OverlapMetric')]
val_evaluator = test_evaluator
default_hooks = dict(checkpoint=dict(save_best='BER'))
